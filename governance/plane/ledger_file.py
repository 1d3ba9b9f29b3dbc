"""The ledger in a file of SQLite: many processes, one transaction a group, write-ahead logging."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import orjson

from governance.errors import LedgerError
from governance.plane import ledger_schema as schema
from governance.plane.archives import MARK
from governance.plane.bulk import EVENT, HEAD, insert_all
from governance.plane.ledger_reader import connect, open_file
from governance.plane.ledger_rows import (
    NO_HEAD,
    Batch,
    Event,
    Group,
    Head,
    chain,
    check_key,
    digest_with,
    meta_of,
    stored_name,
)
from governance.plane.ledger_store import Change, Reader
from governance.plane.wal import write_ahead

HEADS = "SELECT session, n, hash, tokens FROM heads WHERE session IN (SELECT value FROM json_each(?))"
PAYLOAD = (
    "INSERT INTO payloads(session,digest,kind,data,stored) VALUES(?,?,?,?,?) "
    "ON CONFLICT(session,digest) DO UPDATE SET stored=max(stored,excluded.stored)"
)
HEADS_KEPT = 4096


class LedgerFile:
    """One connection to a ledger file, for the one thread that writes; opened when it is first needed."""

    def __init__(self, path: Path, key: bytes | None = None) -> None:
        self.path = path
        self.name = str(path)
        self._key = key
        self._digest = digest_with(key)
        self._db: sqlite3.Connection | None = None
        self._durable, self._is_archive = True, False
        self._file: tuple[int, int] | None = None
        self._forget()

    def append(self, events: list[Event], *, durable: bool) -> Group | None:
        db = self._db or self._open()
        if durable != self._durable:
            db.execute("PRAGMA synchronous=FULL" if durable else "PRAGMA synchronous=NORMAL")
            self._durable = durable
        if events and self._is_archive:
            raise LedgerError(f"{self.path} is an archive, and nothing is recorded in one; name another file")
        if events:
            with self._transaction(db):
                self._write(db, events)
        elif durable:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # what was written before is now on the disk too
        if durable and self._file != _identity(self.path):
            raise LedgerError(f"the ledger {self.path} was deleted or replaced while it was written; restore it")
        return self._last

    def head(self, session: str) -> Head | None:
        if not self.path.exists():
            return None
        db = connect(self.path)
        try:
            row = db.execute("SELECT n, hash, tokens FROM heads WHERE session=?", (session,)).fetchone()
        except sqlite3.OperationalError:
            return None
        finally:
            db.close()
        return Head(*row) if row else None

    def reader(self) -> AbstractContextManager[Reader]:
        return open_file(self.path)

    def change(self, work: Callable[[Change], None]) -> None:
        db = self._db or self._open()
        db.execute("PRAGMA secure_delete=ON")  # what is erased must not stay in pages that are free
        db.execute("PRAGMA synchronous=FULL")
        self._durable = True
        with self._transaction(db):
            work(_FileChange(self, db))
        if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:  # nor in the log
            warnings.warn(
                f"somebody reads {self.path}: its log keeps what was taken out until they are done",
                RuntimeWarning,
                stacklevel=2,
            )

    def free(self) -> int | None:
        """Bytes left on the disk the file is on."""
        try:
            return shutil.disk_usage(self.path.parent).free
        except OSError:  # the folder is gone: the next commit says so
            return None

    def close(self) -> None:
        self._forget()
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = self._db = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        write_ahead(db)
        db.execute("PRAGMA synchronous=FULL")
        if db.execute("PRAGMA user_version").fetchone()[0] != schema.VERSION:
            with self._transaction(db):
                schema.create_sqlite(db)
        if not (meta := dict(db.execute("SELECT name, value FROM meta"))):
            with self._transaction(db):
                # An older file has rows whose hashes have no key.
                mine = meta_of(None if db.execute("SELECT 1 FROM events").fetchone() else self._key)
                db.executemany("INSERT OR IGNORE INTO meta VALUES(?,?)", mine.items())
            meta = dict(db.execute("SELECT name, value FROM meta"))
        check_key(f"the ledger {self.path}", meta, self._key)
        self._durable, self._file = True, _identity(self.path)
        self._is_archive = MARK in meta
        self._forget()
        return db

    def _forget(self) -> None:
        # What data_version counts is a connection's own: nothing known before holds for the next.
        self._heads: dict[str, Head] = {}
        self._salts: dict[str, bytes] = {}
        self._last: Group | None = None
        self._data_version = -1

    @contextmanager
    def _transaction(self, db: sqlite3.Connection) -> Iterator[None]:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = db.execute("PRAGMA data_version").fetchone()[0]
            if version != self._data_version:  # another process wrote: what we know may be old
                self._forget()
                self._data_version = version
            yield
            db.execute("COMMIT")
        except BaseException:
            self._forget()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _write(self, db: sqlite3.Connection, events: list[Event]) -> None:
        last, known = self._last or self._last_group(db), self._heads
        found = self._unknown_heads(db, events)
        batch = chain(
            events, last.g + 1 if last else 1, last.hash if last else "", time.time_ns(),
            head=lambda session: known.get(session) or found.get(session, NO_HEAD),
            salt=lambda session: self._salt(db, session), digest=self._digest,
        )  # fmt: skip
        insert_all(db, EVENT, batch.rows)
        insert_all(db, HEAD, [part for session, head in batch.heads.items() for part in (session, *head)])
        db.execute("INSERT INTO groups VALUES(?,?,?,?,?,?)", batch.group)
        if batch.payloads:
            db.executemany(PAYLOAD, batch.payloads)
        self._remember(batch)

    def _remember(self, batch: Batch) -> None:
        if len(self._heads) + len(batch.heads) > HEADS_KEPT:
            self._heads.clear()
            self._salts.clear()
        if len(batch.heads) <= HEADS_KEPT:
            self._heads.update(batch.heads)
        self._last = batch.group

    def _last_group(self, db: sqlite3.Connection) -> Group | None:
        row = db.execute("SELECT g, ts, events, sum, prev, hash FROM groups ORDER BY g DESC LIMIT 1").fetchone()
        return Group(*row) if row else None

    def _unknown_heads(self, db: sqlite3.Connection, events: list[Event]) -> dict[str, Head]:
        """Where those chains of these events stand that we have not seen; one question for all."""
        new = {stored_name(event[0]) for event in events} - self._heads.keys()
        rows = db.execute(HEADS, (orjson.dumps([*new]).decode(),)).fetchall() if new else ()
        return {session: Head(*head) for session, *head in rows}

    def _salt(self, db: sqlite3.Connection, session: str) -> bytes:
        known = self._salts.get(session)
        if known is None:
            db.execute("INSERT OR IGNORE INTO salts VALUES(?,?)", (session, secrets.token_bytes(16)))
            known = bytes(db.execute("SELECT salt FROM salts WHERE session=?", (session,)).fetchone()[0])
            self._salts[session] = known
        return known


class _FileChange:
    """A transaction of `LedgerFile.change`."""

    def __init__(self, file: LedgerFile, db: sqlite3.Connection) -> None:
        self._file = file
        self._db = db

    def execute(self, query: str, *values: Any) -> int:
        done = self._db.execute(query, values).rowcount
        self._file._salts.clear()
        return done

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        yield from self._db.execute(query, values)

    def append(self, events: list[Event]) -> None:
        self._file._write(self._db, events)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path names now."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
