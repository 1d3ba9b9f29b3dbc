"""`sidecar effects`: side effects that wait for a person to say whether they happened."""

from __future__ import annotations

import json
import time
from contextlib import closing
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from governance.cli.exits import Failure
from governance.cli.places import (
    OUT,
    AsJson,
    By,
    ControlPath,
    LedgerPath,
    Reason,
    local_principal,
    places,
    print_json,
)
from governance.plane import parked
from governance.plane.parked import Parked

app = typer.Typer(help="Show and settle side effects that nobody knows the end of.", no_args_is_help=True)
EffectId = Annotated[str, typer.Argument(metavar="ID", help="The effect, or the beginning of its id.")]


class Finding(StrEnum):
    """What a person found out."""

    HAPPENED = "happened"
    MAY_HAPPEN = "may-happen"


@app.command("list")
def list_(ledger: LedgerPath = None, control: ControlPath = None, as_json: AsJson = False) -> None:
    """Show what waits, the oldest first."""
    where = places(ledger, control)
    found: list[Parked] = []
    if where.control.exists():
        with closing(where.open_control()) as switch:
            found = parked.waiting(switch)
    if as_json:
        print_json([described(one) for one in found])
    else:
        OUT.print(_table(found) if found else "no effect waits")


@app.command()
def show(effect: EffectId, ledger: LedgerPath = None, control: ControlPath = None, as_json: AsJson = False) -> None:
    """Show one effect whole: what it is, with which arguments it began, and why it waits."""
    where = places(ledger, control)
    with closing(where.open_control()) as switch:
        found = described(parked.find(switch, effect))
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        OUT.print(f"[bold]{name}[/bold]  {escape(text)}")
    OUT.print(f"\nwhy, step by step: sidecar ledger explain --effect {escape(found['tool'])} {found['session']}")


@app.command()
def settle(
    effect: EffectId,
    finding: Annotated[
        Finding,
        typer.Argument(help="happened: it is done, never again; may-happen: it is not done, and the run may do it."),
    ],
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", metavar="JSON", help="What the tool would have returned; else that you settled it."),
    ] = None,
    by: By = None,
    reason: Reason = "",
    ledger: LedgerPath = None,
    control: ControlPath = None,
    as_json: AsJson = False,
) -> None:
    """Say what you found out; the session then goes on when it is run again (with no input)."""
    where, who = places(ledger, control), local_principal(by)
    if not reason.strip():
        raise Failure("settling needs --reason TEXT: how do you know? It is kept in the ledger")
    if outcome is not None and finding is Finding.MAY_HAPPEN:
        raise Failure("an effect that has not happened has no --outcome; leave it out")
    given = _outcome(outcome)
    with closing(where.open_control()) as switch:
        one = parked.find(switch, effect)
        # On record first: an effect that may happen again must never be settled by nobody.
        body = {"effect": one.id, "tool": one.tool, "finding": finding, "reason": reason, "outcome": given}
        where.record(one.session, "effect.settled", by=who, body=body)
        if given is None and finding is Finding.HAPPENED and not one.ended:
            given = f"It happened; {who.name} settled it: {reason}"
        parked.settle(switch, one.id, finding.value, outcome=given)
    if as_json:
        print_json({**described(one), "finding": finding})
    else:
        OUT.print(f"settled: {one.tool} of session {one.session} {finding}; run the session again", markup=False)


def described(one: Parked) -> dict[str, Any]:
    """An effect as people and scripts see it."""
    found = {
        "id": one.id,
        "tool": one.tool,
        "session": one.session,
        "why": one.why,
        "began_with": json.loads(one.args),
        "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.since)),
        "ended": one.ended,
    }
    if one.business is not None:
        found["known_as"] = one.business
    if one.asked is not None:
        found["asked_for_later"] = json.loads(one.asked)
    return found


def _outcome(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(f"--outcome must be JSON (a text in double quotes): {error}") from None


def _table(found: list[Parked]) -> Table:
    table = Table("id", "effect", "arguments", "session", "why", title="waiting", title_justify="left")
    for one in found:
        table.add_row(*map(escape, (one.id, one.business or one.tool, one.args, one.session, one.why)))
    return table
