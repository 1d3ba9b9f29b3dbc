"""`sidecar ledger erase`, `prune` and `archive`: let go of content, and keep the record whole."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from governance.cli.exits import Failure
from governance.cli.places import ERR, OUT, AsJson, By, ControlPath, Reason, local_principal, places, print_json
from governance.cli.records import Source, opened
from governance.plane import erasure, retention
from governance.plane.amounts import span
from governance.plane.ledger_store import is_server
from governance.plane.retention import Done

Older = Annotated[str, typer.Option("--older", metavar="SPAN", help="Such as 90d, 12h or 1y.")]


def erase(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="The session; not with --person.")] = None,
    person: Annotated[
        str | None, typer.Option("--person", metavar="ID", help="All sessions whose runs carried this person.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="FILE", help="Erase in this archive too.")
    ] = None,
    by: By = None,
    reason: Reason = "",
    ledger: Source = None,
    control: ControlPath = None,
    as_json: AsJson = False,
) -> None:
    """Erase the payloads of a session, or of all sessions of a person, here and in the control file.

    The chain stays whole, and an effect that happened still happens no second time.
    """
    if (session is None) == (person is None):
        raise Failure("expected a SESSION or --person ID, and one of them only")
    who = local_principal(by)
    with closing(opened(ledger)) as record:
        wanted = retention.sessions_of(record, person) if person else [str(session)]
        found = retention.known_sessions(record, wanted)
        if not found:
            raise Failure(_nobody(session, person))
        if archive is not None and not archive.is_file():
            raise Failure(f"no archive at {archive}; name the file that `sidecar ledger archive` wrote")
        done = retention.erase(record, found, by=f"{who.how}:{who.name}", reason=reason, archive=archive)
    where = places(Path(ledger) if ledger and not is_server(ledger) else None, control)
    if where.control.exists():
        with closing(where.open_control()) as switch:
            erasure.erase(switch, found)
    _say(done, f"erased {done.payloads} payloads of {len(done.sessions)} sessions", as_json)


def prune(older: Older, by: By = None, ledger: Source = None, as_json: AsJson = False) -> None:
    """Erase all payloads that were stored longer ago than a span of time."""
    before, who = retention.older_than(_span(older)), local_principal(by)
    with closing(opened(ledger)) as record:
        done = retention.prune(record, before, by=f"{who.how}:{who.name}")
    _say(done, f"pruned {done.payloads} payloads, {done.bytes} bytes", as_json)


def archive(
    older: Older,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The archive; one that exists is added to.")],
    by: By = None,
    ledger: Source = None,
    as_json: AsJson = False,
) -> None:
    """Move whole sessions, whose last event is older than a span of time, into a ledger file of their own."""
    before, who = retention.older_than(_span(older)), local_principal(by)
    with closing(opened(ledger)) as record, Progress(console=ERR, transient=True, disable=not ERR.is_terminal) as bar:
        task = bar.add_task("sessions", total=None)
        done = retention.archive(
            record, before, to, by=f"{who.how}:{who.name}",
            progress=lambda number, of: bar.update(task, completed=number, total=of),
        )  # fmt: skip
    _say(done, f"archived {done.rows} events of {len(done.sessions)} sessions in {to}", as_json)


def _nobody(session: str | None, person: str | None) -> str:
    if person is None:
        return f"the ledger has no session {session!r}; see `sidecar ledger show`"
    return (
        f"no session carries person {person!r}; persons are recorded where [ledger] person names the key of "
        'config["configurable"] that holds them, and not found again once erased'
    )


def _span(given: str) -> float:
    try:
        return span(given)
    except ValueError as error:
        raise Failure(f"--older: {error}") from None


def _say(done: Done, words: str, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "sessions": done.sessions, "payloads": done.payloads, "bytes": done.bytes, "rows": done.rows,
    }  # fmt: skip
    print_json(facts) if as_json else OUT.print(words, markup=False)
