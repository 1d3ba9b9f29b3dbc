"""`sidecar saga`: sessions whose effects are taken back, and what a person has to settle of that."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from enum import StrEnum
from sys import stderr
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from governance.cli.exits import Code, Failure
from governance.cli.places import (
    OUT,
    AsJson,
    By,
    ControlPath,
    LedgerPath,
    Reason,
    lend,
    local_principal,
    places,
    print_json,
)
from governance.compensation import Compensated, compensate
from governance.loading import load_graph
from governance.plane import sagas, undo_list
from governance.plane.sagas import Saga
from governance.plane.undo_list import Listed
from governance.seams import governance_of
from governance.sidecar import Governance

app = typer.Typer(help="Undo sessions, and settle what could not be undone.", no_args_is_help=True)
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The session.")]
GraphName = Annotated[
    str, typer.Argument(metavar="GRAPH", help="Its graph: a name in langgraph.json, ./file.py:attr or module:attr.")
]


class Found(StrEnum):
    """What a person found out, or wants."""

    UNDONE = "undone"
    STANDS = "stands"
    AGAIN = "again"


@app.command("list")
def list_(ledger: LedgerPath = None, control: ControlPath = None, as_json: AsJson = False) -> None:
    """Show sessions that were undone, are being undone, or have not come to their end, and what waits of them."""
    where = places(ledger, control)
    known: list[Saga] = []
    waiting: list[Listed] = []
    open_ones: list[tuple[str, str, int]] = []
    if where.control.exists():
        with closing(where.open_control()) as switch:
            known, waiting, open_ones = sagas.listed(switch), undo_list.waiting(switch), sagas.open_sessions(switch)
    if as_json:
        opened = [{"session": name, "graph": graph, "effects": count} for name, graph, count in open_ones]
        data = {"sessions": [one._asdict() for one in known], "waiting": list(map(described, waiting)), "open": opened}
        print_json(data)
        return
    OUT.print(_sessions(known, open_ones) if known or open_ones else "no session has anything to undo")
    if waiting:
        OUT.print(_waiting(waiting))


@app.command()
def show(session: SessionId, ledger: LedgerPath = None, control: ControlPath = None, as_json: AsJson = False) -> None:
    """Show one session: why it was undone, and what became of each of its effects, the newest first."""
    with closing(places(ledger, control).open_control()) as switch:
        saga, steps = sagas.saga_of(switch, session), undo_list.undo_list(switch, session)
    if as_json:
        print_json({**saga._asdict(), "effects": list(map(described, steps))})
        return
    OUT.print(f"{session}: {saga.state}; {saga.cause}, {saga.reason} ({saga.by})", markup=False)
    for one in steps:
        OUT.print(f"\n[bold]{escape(one.tool)}[/bold]  {one.state}{escape(f': {one.why}' if one.why else '')}")
        OUT.print(f"  id       {one.id}\n  with     {_json(one.args)}\n  returned {_json(one.outcome)}", markup=False)


@app.command()
def undo(
    session: SessionId,
    graph: GraphName,
    reason: Reason = "",
    by: By = None,
    ledger: LedgerPath = None,
    control: ControlPath = None,
    as_json: AsJson = False,
) -> None:
    """Take back what a session did, the newest first; it does nothing more from then on."""
    if not reason.strip():
        raise Failure("undoing needs --reason TEXT: it is kept in the ledger")
    who = local_principal(by)
    with _loaded(graph, ledger, control) as (loaded, _):
        found = compensate(loaded, session, reason=reason, by=f"{who.how}:{who.name}")
    _print([found], as_json)


@app.command()
def resume(
    graph: GraphName,
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="One session; else all there are.")] = None,
    ledger: LedgerPath = None,
    control: ControlPath = None,
    as_json: AsJson = False,
) -> None:
    """Go on with undoing the sessions of a graph where that was cut off, held back, or is to be tried again."""
    with _loaded(graph, ledger, control) as (loaded, governance):
        known = [one for one in sagas.listed(governance.control) if one.graph == governance.graph]
        if session is not None and session not in {one.session for one in known}:
            raise Failure(f"no session {session!r} of this graph was undone; see `sidecar saga list`")
        due = [one.session for one in known if one.state == "undoing" and session in (None, one.session)]
        found = [compensate(loaded, one, reason="") for one in due]
    _print(found, as_json)


@app.command()
def settle(
    effect: Annotated[str, typer.Argument(metavar="ID", help="The effect, or the beginning of its id.")],
    finding: Annotated[
        Found,
        typer.Argument(
            help="undone: not in force any more, or it never was; stands: it stays; again: `saga resume` tries again."
        ),
    ],
    by: By = None,
    reason: Reason = "",
    ledger: LedgerPath = None,
    control: ControlPath = None,
    as_json: AsJson = False,
) -> None:
    """Say what became of an effect that could not be taken back."""
    where, who = places(ledger, control), local_principal(by)
    if not reason.strip():
        raise Failure("settling needs --reason TEXT: how do you know? It is kept in the ledger")
    with closing(where.open_control()) as switch:
        one = undo_list.find(switch, effect)
        # On record first: nobody must have settled it without a trace.
        body = {"effect": one.id, "tool": one.tool, "finding": finding, "reason": reason}
        where.record(one.session, "saga.settled", by=who, body=body)
        state = undo_list.settle(switch, one.id, finding.value, reason=f"{who.name}: {reason}")
    if as_json:
        print_json({**described(one), "finding": finding, "saga": state})
    else:
        OUT.print(f"settled: {one.tool} {finding}; session {one.session} is {state}", markup=False)


def described(one: Listed) -> dict[str, Any]:
    """An effect as people and scripts see it."""
    found = {
        "id": one.id,
        "tool": one.tool,
        "session": one.session,
        "path": one.path,
        "state": one.state,
        "why": one.why,
        "args": one.args,
        "outcome": one.outcome,
    }
    return found if one.business is None else {**found, "known_as": one.business}


@contextmanager
def _loaded(graph: str, ledger: LedgerPath, control: ControlPath) -> Iterator[tuple[Any, Governance]]:
    """The graph and what governs it; what its undos print is not what was asked for."""
    lend(places(ledger, control), ledger, control)
    with redirect_stdout(stderr):
        loaded = load_graph(graph)
        governance = governance_of(loaded)
        if governance is None:
            raise Failure("expected a governed graph; see governance.govern(contracts=..., policy=...)")
        with closing(governance.sidecar):
            yield loaded, governance


def _print(found: list[Compensated], as_json: bool) -> None:
    if as_json:
        shown = [
            {"session": one.session, "state": one.state, "effects": list(map(described, one.steps))} for one in found
        ]
        print_json(shown)
    else:
        for one in found:
            OUT.print(str(one), markup=False)
        if not found:
            OUT.print("nothing was cut off")
    if any(one.parked for one in found):
        raise typer.Exit(Code.WAITS)


def _sessions(known: list[Saga], open_ones: list[tuple[str, str, int]]) -> Table:
    table = Table("session", "graph", "state", "since", "why", title="sessions", title_justify="left")
    for one in known:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.began))
        table.add_row(*map(escape, (one.session, one.graph, one.state, since, f"{one.cause}: {one.reason}")))
    for session, graph, count in open_ones:
        table.add_row(*map(escape, (session, graph, "open", "", f"{count} effects could be undone")))
    return table


def _waiting(found: list[Listed]) -> Table:
    table = Table("id", "effect", "arguments", "session", "why", title="waits for a person", title_justify="left")
    for one in found:
        table.add_row(*map(escape, (one.id, one.business or one.tool, _json(one.args), one.session, one.why)))
    return table


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
