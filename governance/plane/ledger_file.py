"""The SQLite file behind the ledger: rows in a hash chain per session, and where each chain ends.

The hash of an event covers every stored field: SHA-256 over the canonical JSON array
`[prev, session, n, ts, kind, path, actor, body]`, where `prev` is the hash of the session's event before
(empty for the first) and `body` the stored text. What a session has spent is the sum of `tokens` in its
bodies, so that the head's count can be recomputed too.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from governance import canonical
from governance.errors import LedgerError
from governance.plane.wal import write_ahead

SCHEMA = """
CREATE TABLE IF NOT EXISTS events(
    session TEXT NOT NULL, n INTEGER NOT NULL, ts INTEGER NOT NULL, kind TEXT NOT NULL,
    path TEXT NOT NULL, actor TEXT NOT NULL, body TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY(session, n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads(
    session TEXT PRIMARY KEY, n INTEGER NOT NULL, hash TEXT NOT NULL, tokens INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version=1;
"""
EVENT = ("INSERT INTO events(session,n,ts,kind,path,actor,body,prev,hash) VALUES", 9, "")
HEAD = (
    "INSERT INTO heads(session,n,hash,tokens) VALUES",
    4,
    "ON CONFLICT(session) DO UPDATE SET n=excluded.n, hash=excluded.hash, tokens=excluded.tokens",
)
GROUP = 512
"""Rows one statement writes at most: SQLite gives up the interpreter's lock at each, and taking it back
from a busy event loop costs more than the row."""
HEADS_KEPT = 4096

Facts = tuple[Any, ...]
"""A function that makes the text of a body, and what it makes it of: values that nobody can change any more."""
Event = tuple[str, int, str, str, str, str | Facts, int]
"""session, nanoseconds since 1970, kind, path, actor, body, tokens; a plain tuple, as there are many."""
Statement = tuple[str, int, str]


class Head(NamedTuple):
    """Where a session's chain ends, with the tokens it has spent."""

    n: int
    hash: str
    tokens: int


def event_hash(prev: str, session: str, n: int, ts: int, kind: str, path: str, actor: str, body: str) -> str:
    """The hash of one stored event, as the module describes it."""
    return hashlib.sha256(canonical.encode([prev, session, n, ts, kind, path, actor, body])).hexdigest()


def head_of(path: Path, session: str) -> Head | None:
    """Where a session's chain stands in the file; None where it has none, or the file is not there."""
    if not path.exists():
        return None
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        row = db.execute("SELECT n, hash, tokens FROM heads WHERE session=?", (session,)).fetchone()
    except sqlite3.OperationalError:
        return None
    finally:
        db.close()
    return Head(*row) if row else None


class LedgerFile:
    """One connection to a ledger file, for the one thread that writes; opened when it is first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._durable = True
        self._file: tuple[int, int] | None = None
        self._heads: dict[str, Head] = {}
        self._data_version = -1

    def append(self, events: list[Event], *, durable: bool) -> None:
        """Write events in one transaction; with `durable` it is on the disk, not only with the operating system."""
        db = self._db or self._open()
        if durable != self._durable:
            db.execute("PRAGMA synchronous=FULL" if durable else "PRAGMA synchronous=NORMAL")
            self._durable = durable
        if events:
            self._transaction(db, events)
        elif durable:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # what was written before is now on the disk too
        if durable and self._file != _identity(self.path):
            raise LedgerError(f"the ledger {self.path} was deleted or replaced while it was written; restore it")

    def close(self) -> None:
        """Let the file go; the next `append` opens it again."""
        self._heads.clear()
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = self._db = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        write_ahead(db)
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(SCHEMA)
        self._durable, self._file = True, _identity(self.path)
        self._heads.clear()  # what data_version counts is this connection's own: nothing known before holds
        self._data_version = -1
        return db

    def _transaction(self, db: sqlite3.Connection, events: list[Event]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = db.execute("PRAGMA data_version").fetchone()[0]
            if version != self._data_version:  # another process wrote: our heads may be old
                self._heads.clear()
                self._data_version = version
            touched: dict[str, Head] = {}
            _write(db, EVENT, self._chained(db, events, touched))
            _write(db, HEAD, [part for session, head in touched.items() for part in (session, *head)])
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        if len(self._heads) + len(touched) > HEADS_KEPT:
            self._heads.clear()
        self._heads.update(touched)

    def _chained(self, db: sqlite3.Connection, events: list[Event], touched: dict[str, Head]) -> list[Any]:
        """The columns of all rows, one after the other; `touched` becomes the new ends of the chains."""
        values: list[Any] = []
        sha256, encode = hashlib.sha256, canonical.encode
        current, n, prev, used = None, 0, "", 0
        for session, ts, kind, path, actor, body, tokens in events:
            if not (session.isascii() and path.isascii() and actor.isascii()):
                session, path, actor = _stored(session), _stored(path), _stored(actor)
            if session != current:  # events of one session mostly follow each other
                if current is not None:
                    touched[current] = Head(n, prev, used)
                current, (n, prev, used) = session, touched.get(session) or self._head(db, session)
            text = body if isinstance(body, str) else body[0](*body[1:])
            n += 1
            digest = sha256(encode((prev, session, n, ts, kind, path, actor, text))).hexdigest()
            values += (session, n, ts, kind, path, actor, text, prev, digest)
            prev, used = digest, used + tokens
        if current is not None:
            touched[current] = Head(n, prev, used)
        return values

    def _head(self, db: sqlite3.Connection, session: str) -> Head:
        known = self._heads.get(session)
        if known is None:
            found = db.execute("SELECT n, hash, tokens FROM heads WHERE session=?", (session,)).fetchone()
            known = Head(*found) if found else Head(0, "", 0)
        return known


def _write(db: sqlite3.Connection, statement: Statement, values: list[Any]) -> None:
    """Insert the rows that the values are the columns of, in a few large statements."""
    columns, start = statement[1], 0
    for rows in _parts(len(values) // columns):
        end = start + rows * columns
        db.execute(_insert(statement, rows), values[start:end])
        start = end


@cache
def _insert(statement: Statement, rows: int) -> str:
    into, columns, otherwise = statement
    row = f"({','.join('?' * columns)})"
    return f"{into} {','.join([row] * rows)} {otherwise}"


def _parts(rows: int) -> Iterator[int]:
    """Sizes of the statements that insert so many rows: few sizes, since a new one costs 100 rows to prepare."""
    size = GROUP
    while rows:
        while size > rows:
            size //= 2
        yield size
        rows -= size


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path names now."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stored(name: str) -> str:
    """Text that SQLite can hold: a lone surrogate (a model can write one) must not stop the record."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()
