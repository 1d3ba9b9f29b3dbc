"""Reads a ledger for people: newest rows, rows as they come, one row of a session."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from sqlite_utils import Database

from governance.cli.exits import Code, Failure

COLUMNS = "session, n, ts, kind, path, actor, body, hash"
POLL = 0.2
"""Seconds between two looks at a ledger that is followed."""


def rows(path: Path, *, session: str | None, kind: str, limit: int, follow: bool = False) -> Iterator[dict[str, Any]]:
    """The newest rows that fit, in the order they happened; with `follow` also all that come after them."""
    with closing(_open(path)) as db:
        version = _version(db)
        db.execute("BEGIN")
        where, facts = _where(session, kind)
        query = f"SELECT {COLUMNS} FROM events WHERE {where} ORDER BY ts DESC, n DESC LIMIT :limit"
        found = list(_query(db, query, {**facts, "limit": limit}))
        seen = _ends(db)
        db.execute("COMMIT")
        yield from map(_row, reversed(found))
        while follow:
            if (now := _version(db)) == version:
                time.sleep(POLL)
                continue
            version = now
            for name, end in _ends(db).items():
                if end > seen.get(name, 0) and session in (None, name):
                    yield from map(_row, _between(db, name, seen.get(name, 0), end, kind))
                seen[name] = end


def _ends(db: sqlite3.Connection) -> dict[str, int]:
    return {row["session"]: row["n"] for row in _query(db, "SELECT session, n FROM heads", {})}


def _between(db: sqlite3.Connection, session: str, after: int, end: int, kind: str) -> Iterator[dict[str, Any]]:
    query = f"SELECT {COLUMNS} FROM events WHERE session=:s AND n>:n AND n<=:end AND kind GLOB :kind ORDER BY n"
    return _query(db, query, {"s": session, "n": after, "end": end, "kind": kind})


def last_body(path: Path, session: str, kind: str) -> dict[str, Any] | None:
    """The body of the newest row of a kind in a session; None where there is none to read."""
    if not path.is_file():
        return None
    with closing(_open(path)) as db:
        query = "SELECT body FROM events WHERE session=:session AND kind=:kind ORDER BY n DESC LIMIT 1"
        found = [orjson.loads(row["body"]) for row in _query(db, query, {"session": session, "kind": kind})]
    return found[0] if found else None


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise Failure(f"no ledger at {path}; go to the directory the graph runs in or give --ledger")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
        _version(db)
    except sqlite3.DatabaseError as error:
        raise _unreadable(error) from error
    return db


def _unreadable(error: sqlite3.DatabaseError) -> Failure:
    return Failure(f"this is no readable ledger ({error}); see `sidecar ledger verify`", Code.FAILED)


def _query(db: sqlite3.Connection, query: str, facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        yield from Database(db).query(query, facts)
    except sqlite3.DatabaseError as error:
        raise _unreadable(error) from error


def _where(session: str | None, kind: str) -> tuple[str, dict[str, Any]]:
    if session is None:
        return "kind GLOB :kind", {"kind": kind}
    return "session = :session AND kind GLOB :kind", {"session": session, "kind": kind}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    try:
        return {**row, "body": orjson.loads(row["body"])}
    except ValueError:  # somebody edited it; showing it is what this is for
        return row


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA data_version").fetchone()[0])
