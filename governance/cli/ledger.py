"""`sidecar ledger`: read the record, and prove that it is whole."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress

from governance.cli.exits import Code, Failure
from governance.cli.places import ERR, OUT, AsJson, LedgerPath, places, plain, print_json
from governance.cli.records import rows
from governance.plane.verify import Verification, verify

app = typer.Typer(help="Read the record and prove that it is whole.", no_args_is_help=True)


@app.command()
def show(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="One session; else all.")] = None,
    kind: Annotated[str, typer.Option("--kind", metavar="GLOB", help="Kinds of events, such as 'tool.*'.")] = "*",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The newest N.")] = 50,
    follows: Annotated[bool, typer.Option("--follow", help="Go on with what is written from now on.")] = False,
    ledger: LedgerPath = None,
    as_json: AsJson = False,
) -> None:
    """Print the newest events; with --json one object a line."""
    path = places(ledger, None).ledger
    for row in rows(path, session=session, kind=kind, limit=limit, follow=follows):
        _print(row, as_json)


@app.command("verify")
def verify_(
    head: Annotated[
        list[str] | None,
        typer.Option("--head", metavar="SESSION:N:HASH", help="An end known earlier; may be repeated."),
    ] = None,
    ledger: LedgerPath = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every hash; exit code 5 where anything was edited, cut, dropped, swapped or put in."""
    path = places(ledger, None).ledger
    if not path.is_file():
        raise Failure(f"no ledger at {path}; go to the directory the graph runs in or give --ledger")
    known = dict(map(_head, head or ()))
    with Progress(console=ERR, transient=True, disable=not ERR.is_terminal) as bar:
        task = bar.add_task("rows", total=None)
        found = verify(path, heads=known, progress=lambda done, all_: bar.update(task, completed=done, total=all_))
    if as_json:
        print_json(_report(found))
    else:
        for problem in found.problems:
            OUT.print(str(problem), markup=False)
        word = "whole" if found.ok else "NOT whole"
        OUT.print(f"{path}: {word}; {found.events} events in {found.sessions} sessions", markup=False)
    if not found.ok:
        raise typer.Exit(Code.FAILED)


def _head(given: str) -> tuple[str, tuple[int, str]]:
    session, n, digest = (["", "", *given.rsplit(":", 2)])[-3:]
    if not (session and n.isdigit() and digest):
        raise Failure(f"expected --head SESSION:N:HASH, got {given!r}; `ledger verify --json` prints them")
    return session, (int(n), digest)


def _report(found: Verification) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "events": found.events,
        "sessions": found.sessions,
        "problems": [{"session": p.session, "n": p.n, "what": p.what} for p in found.problems],
        "heads": [f"{session}:{n}:{digest}" for session, (n, digest) in found.heads.items()],
    }


def _print(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(plain(row), ensure_ascii=False), flush=True)
        return
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["ts"] / 1e9))
    session, kind, actor, path = (escape(row[name]) for name in ("session", "kind", "actor", "path"))
    body = escape(json.dumps(row["body"], ensure_ascii=False)[:400])
    OUT.print(f"[dim]{at}[/dim] {session}:{row['n']} [bold]{kind}[/bold] {actor} {path} [dim]{body}[/dim]")
