"""Reads a ledger for people: newest rows, rows as they come, the rows of a session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from governance.cli.exits import Failure
from governance.cli.places import local_policy, places
from governance.plane.ledger import Ledger
from governance.plane.ledger_settings import ledger_by
from governance.plane.ledger_store import Place, Reader, is_server, store_of

COLUMNS = ("session", "n", "g", "ts", "kind", "path", "actor", "body", "hash")
SELECT = f"SELECT {', '.join(COLUMNS)} FROM events"
POLL = 0.2
"""Seconds between two looks at a ledger that is followed."""

Source = Annotated[
    str | None,
    typer.Option(
        "--ledger", metavar="PATH|URL", help="The ledger; else SIDECAR_LEDGER, sidecar.toml, .sidecar/ledger.db."
    ),
]


def source(ledger: str | None) -> Place:
    """Where the ledger is, by option, environment, `sidecar.toml` and default, in this order."""
    if ledger is not None and is_server(ledger):
        return ledger
    return places(Path(ledger) if ledger else None, None).record_at()


def opened(ledger: str | None, *, create: bool = False) -> Ledger:
    """The ledger as the policy here describes it: with its key, and its rules of redaction."""
    place = source(ledger)
    if not create:
        check_there(place)
    return ledger_by(local_policy().ledger, place)


def check_there(place: Place) -> None:
    if not is_server(place) and not Path(place).is_file():
        raise Failure(f"no ledger at {place}; go to the directory the graph runs in or give --ledger")


@contextmanager
def reading(place: Place) -> Iterator[Reader]:
    check_there(place)
    with store_of(place).reader() as reader:
        yield reader


def rows(place: Place, *, session: str | None, kind: str, limit: int, follow: bool = False) -> Iterator[dict[str, Any]]:
    """The newest rows that fit, in the order they happened; with `follow` also all that come after them."""
    with reading(place) as reader:
        where, values = _where(session, kind)
        found = [*reader.rows(f"{SELECT} WHERE {where} ORDER BY ts DESC, n DESC LIMIT ?", *values, limit)]
        seen, group = _ends(reader), _group(reader)
    yield from map(row, reversed(found))
    while follow:
        time.sleep(POLL)
        with reading(place) as reader:
            if (now := _group(reader)) == group:
                continue
            group, ends = now, _ends(reader)
            new = [one for name in ends if session in (None, name) for one in _since(reader, name, seen, ends, kind)]
        seen = ends
        yield from map(row, sorted(new, key=lambda one: (one[3], one[0], one[1])))


def of_session(reader: Reader, session: str) -> list[dict[str, Any]]:
    """All rows of a session, in order."""
    return [row(one) for one in reader.rows(f"{SELECT} WHERE session=? ORDER BY n", session)]


def last_body(path: Place, session: str, kind: str) -> dict[str, Any] | None:
    """The body of the newest row of a kind in a session; None where there is none to read."""
    if not is_server(path) and not Path(path).is_file():
        return None
    query = f"{SELECT} WHERE session=? AND kind=? ORDER BY n DESC LIMIT 1"
    with reading(path) as reader:
        return next((row(one)["body"] for one in reader.rows(query, session, kind)), None)


def row(values: tuple[Any, ...]) -> dict[str, Any]:
    """A row by the names of its columns, its body as an object."""
    named = dict(zip(COLUMNS, values, strict=True))
    try:
        return {**named, "body": orjson.loads(named["body"])}
    except ValueError:  # somebody edited it; showing it is what this is for
        return named


def _group(reader: Reader) -> int:
    return int(next(reader.rows("SELECT coalesce(max(g), -1) FROM groups"))[0])


def _ends(reader: Reader) -> dict[str, int]:
    return dict(reader.rows("SELECT session, n FROM heads"))


def _since(
    reader: Reader, session: str, seen: dict[str, int], ends: dict[str, int], kind: str
) -> Iterator[tuple[Any, ...]]:
    if ends[session] > seen.get(session, 0):
        where, values = _where(session, kind)
        yield from reader.rows(f"{SELECT} WHERE {where} AND n>? AND n<=?", *values, seen.get(session, 0), ends[session])


def _where(session: str | None, kind: str) -> tuple[str, tuple[str, ...]]:
    pattern = kind.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%").replace("?", "_")
    if session is None:
        return "kind LIKE ? ESCAPE '\\'", (pattern,)
    return "kind LIKE ? ESCAPE '\\' AND session = ?", (pattern, session)
