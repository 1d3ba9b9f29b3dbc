"""`sidecar ledger`: read the record, prove that it is whole, and let go of what must not be kept."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress

from governance.cli import explain, export, retention
from governance.cli.exits import Code, Failure
from governance.cli.places import ERR, OUT, AsJson, local_policy, plain, print_json
from governance.cli.records import Source, check_there, rows, source
from governance.plane.anchors import Anchor, read_anchors, write_to
from governance.plane.ledger_settings import key_of
from governance.plane.ledger_store import store_of
from governance.plane.verify import Verification, verify

UNEXPECTED = (
    "it calls itself an archive, and that only its ledger can confirm: give that as --ledger, and this as --archive; "
    "or say --is-archive to check it by itself"
)

app = typer.Typer(help="Read the record, prove that it is whole, and let go of what must go.", no_args_is_help=True)


@app.command()
def show(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="One session; else all.")] = None,
    kind: Annotated[str, typer.Option("--kind", metavar="GLOB", help="Kinds of events, such as 'tool.*'.")] = "*",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The newest N.")] = 50,
    follows: Annotated[bool, typer.Option("--follow", help="Go on with what is written from now on.")] = False,
    ledger: Source = None,
    as_json: AsJson = False,
) -> None:
    """Print the newest events; with --json one object a line."""
    for row in rows(source(ledger), session=session, kind=kind, limit=limit, follow=follows):
        _print(row, as_json)


@app.command("verify")
def verify_(
    head: Annotated[
        list[str] | None,
        typer.Option("--head", metavar="SESSION:N:HASH", help="An end known earlier; may be repeated."),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option("--anchor", metavar="FILE", help="Anchors kept elsewhere; - reads stdin; may be repeated."),
    ] = None,
    archive: Annotated[
        list[Path] | None,
        typer.Option("--archive", metavar="FILE", help="Where archived sessions are; may be repeated."),
    ] = None,
    alone: Annotated[
        bool,
        typer.Option("--is-archive", help="What is checked is an archive, and nothing of it is looked for elsewhere."),
    ] = False,
    ledger: Source = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every hash; exit code 5 where anything was edited, cut, dropped, swapped or put in."""
    place = source(ledger)
    check_there(place)
    known = dict(map(_head, head or ()))
    anchors = [one for file in anchor or () for one in read_anchors(file)]
    with Progress(console=ERR, transient=True, disable=not ERR.is_terminal) as bar:
        task = bar.add_task("rows", total=None)
        found = verify(
            place, heads=known, anchors=anchors, archives=archive or (), key=key_of(local_policy().ledger),
            progress=lambda done, all_: bar.update(task, completed=done, total=all_),
        )  # fmt: skip
    if alone and not found.is_archive:
        raise Failure(f"{store_of(place).name} does not call itself an archive; leave --is-archive out")
    passes = found.ok and alone == found.is_archive
    if as_json:
        print_json({"ok": passes, **_report(found)})
    else:
        for problem in found.problems:
            OUT.print(str(problem), markup=False)
        OUT.print(f"{store_of(place).name}: {_verdict(found)}{_unseen(found)}", markup=False)
    if found.is_archive and not alone:
        ERR.print(UNEXPECTED)
    if not passes:
        raise typer.Exit(Code.FAILED)


@app.command()
def anchor(
    to: Annotated[str, typer.Option("--to", metavar="FILE|-", help="Append it to a file; else it is printed.")] = "-",
    ledger: Source = None,
) -> None:
    """Give the end of the chain over all sessions, as a line of JSON to keep where the ledger cannot be changed."""
    place = source(ledger)
    check_there(place)
    with store_of(place).reader() as reader:
        last = next(reader.rows("SELECT g, hash, ts FROM groups ORDER BY g DESC LIMIT 1"), None)
    if last is None:
        raise Failure(f"the ledger {store_of(place).name} is empty: there is nothing to anchor yet")
    write_to(to)(Anchor(*last))


app.command("explain")(explain.explain)
app.command("export")(export.export)
app.command("erase")(retention.erase)
app.command("prune")(retention.prune)
app.command("archive")(retention.archive)


def _verdict(found: Verification) -> str:
    word = "whole" if found.ok else "NOT whole"
    what = "an archive, whole" if found.is_archive and found.ok else word
    return f"{what}; {found.events} events in {found.sessions} sessions"


def _unseen(found: Verification) -> str:
    """What the verdict does not speak of."""
    if not found.unseen:
        return ""
    where = f" ({', '.join(found.archives)})" if found.archives else ""
    rows, sessions = sum(found.unseen.values()), len(found.unseen)
    return f"; NOT looked at: {rows} events of {sessions} archived sessions; give their --archive FILE{where}"


def _head(given: str) -> tuple[str, tuple[int, str]]:
    session, n, digest = (["", "", *given.rsplit(":", 2)])[-3:]
    if not (session and n.isdigit() and digest):
        raise Failure(f"expected --head SESSION:N:HASH, got {given!r}; `ledger verify --json` prints them")
    return session, (int(n), digest)


def _report(found: Verification) -> dict[str, Any]:
    return {
        "events": found.events,
        "sessions": found.sessions,
        "problems": [{"session": p.session, "n": p.n, "what": p.what} for p in found.problems],
        "heads": [f"{session}:{n}:{digest}" for session, (n, digest) in found.heads.items()],
        "anchor": found.anchor._asdict() if found.anchor else None,
        "is_archive": found.is_archive,
        "archived": list(found.archived),
        "unseen": {"sessions": list(found.unseen), "events": sum(found.unseen.values()), "archives": found.archives},
    }


def _print(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(plain(row), ensure_ascii=False), flush=True)
        return
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["ts"] / 1e9))
    session, kind, actor, path = (escape(row[name]) for name in ("session", "kind", "actor", "path"))
    body = escape(json.dumps(row["body"], ensure_ascii=False)[:400])
    OUT.print(f"[dim]{at}[/dim] {session}:{row['n']} [bold]{kind}[/bold] {actor} {path} [dim]{body}[/dim]")
