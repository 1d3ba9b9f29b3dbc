"""`sidecar ledger explain`: why something happened, in plain words."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated, Any

import typer
from rich.markup import escape

from governance import canonical
from governance.cli.exits import Failure
from governance.cli.places import OUT, AsJson, print_json
from governance.cli.records import SELECT, Source, of_session, opened, reading, row
from governance.errors import LedgerError
from governance.loading import nearest
from governance.plane.explanation import Explanation, Payload, explanations, node_of
from governance.plane.ledger import Ledger
from governance.plane.ledger_store import Reader

EFFECTS = f"{SELECT} WHERE kind IN ('effect.intent', 'tool.ended') AND actor=? ORDER BY ts"


def explain(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="The session; else all.")] = None,
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="A row's number, a path, or a node; else every node.")
    ] = None,
    effect: Annotated[
        str | None, typer.Option("--effect", metavar="TOOL", help="Explain the calls of this tool.")
    ] = None,
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", metavar="NAME=VALUE", help="Only those with this argument; may be repeated."),
    ] = None,
    ledger: Source = None,
    as_json: AsJson = False,
) -> None:
    """Tell why something happened: what was given, asked, decided, approved and done, and under which rules."""
    if session is None and effect is None:
        raise Failure("expected a SESSION, or --effect TOOL to find it by what was done")
    wanted = dict(map(_argument, arg or ()))
    with closing(opened(ledger)) as record, reading(record.place) as reader:
        found = (
            _by_effect(reader, effect, wanted, session, texts(record))
            if effect is not None
            else _by_step(reader, str(session), step, texts(record))
        )
    if as_json:
        print_json([_plain(one) for one in found])
        return
    for one in found:
        _print(one)


def texts(record: Ledger) -> Payload:
    """Payloads as text; what was erased, pruned or never kept is None."""

    def find(session: str, digest: str) -> str | None:
        try:
            value = record.payload(session, digest)
        except LedgerError:
            return None
        return value if isinstance(value, str) else canonical.text(shown(value))

    return find


def shown(value: Any) -> Any:
    """A message as who said what; everything else as it is."""
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    if hasattr(value, "content") and hasattr(value, "type"):
        calls = getattr(value, "tool_calls", None)
        return {str(value.type): value.content, **({"tool_calls": calls} if calls else {})}
    return value


def _by_step(reader: Reader, session: str, step: str | None, payload: Payload) -> list[Explanation]:
    rows = of_session(reader, session)
    if not rows:
        known = [name for (name,) in reader.rows("SELECT session FROM heads LIMIT 1000")]
        raise Failure(f"the ledger has no rows of session {session!r}; {nearest(session, known)}")
    paths = list(dict.fromkeys(node_of(one["path"]) for one in rows if one["path"]))
    if step is None:
        chosen = paths
    elif step.isdigit():
        chosen = [node_of(one["path"]) for one in rows if one["n"] == int(step) and one["path"]]
    else:
        names = {one["path"]: one["actor"] for one in rows if one["kind"] == "node.begun"}
        chosen = [path for path in paths if path == node_of(step) or names.get(path) == step]
    if not chosen:
        raise Failure(f"session {session!r} has no step {step!r}; {nearest(step or '', paths)}")
    return explanations(rows, chosen, payload)


def _by_effect(
    reader: Reader, tool: str, wanted: dict[str, str], session: str | None, payload: Payload
) -> list[Explanation]:
    calls: dict[tuple[str, str], None] = {}
    for one in map(row, reader.rows(EFFECTS, tool)):
        given = one["body"].get("args") if isinstance(one["body"], dict) else None
        if session in (None, one["session"]) and _fits(given, wanted):
            calls[one["session"], node_of(one["path"])] = None
    if not calls:
        tools = [name for (name,) in reader.rows("SELECT DISTINCT actor FROM events WHERE kind='tool.ended'")]
        what = " ".join(f"{name}={value}" for name, value in wanted.items())
        raise Failure(f"no call of {tool} {what} is on record; {nearest(tool, tools)}")
    found = []
    for name in dict.fromkeys(name for name, _ in calls):
        paths = [path for other, path in calls if other == name]
        found += explanations(of_session(reader, name), paths, payload)
    return found


def _fits(given: Any, wanted: dict[str, str]) -> bool:
    if not isinstance(given, dict):
        return not wanted
    return all(
        name in given and value in (str(given[name]), canonical.text(given[name])) for name, value in wanted.items()
    )


def _argument(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise Failure(f"expected --arg NAME=VALUE, got {given!r}")
    return name, value


def _plain(one: Explanation) -> dict[str, Any]:
    facts = [{"n": fact.n, "ts": fact.ts, "kind": fact.kind, "text": fact.text} for fact in one.facts]
    return {"session": one.session, "node": one.node, "path": one.path, "facts": facts}


def _print(one: Explanation) -> None:
    OUT.print(f"[bold]{escape(one.node)}[/bold] in session {escape(one.session)} [dim]{escape(one.path)}[/dim]")
    for fact in one.facts:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(fact.ts / 1e9))
        OUT.print(f"  [dim]{at} row {fact.n}[/dim]  {escape(fact.text)}")
