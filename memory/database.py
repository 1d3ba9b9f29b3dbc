"""The file that is the truth: one SQLite connection behind one lock, written in transactions."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memory.errors import StoreClosed, StoreMismatch

VERSION = 1
_PATIENCE = 60.0  # seconds that a write waits for one of another process
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS scopes(
    id INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT UNIQUE NOT NULL, indexed INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS items(
    id INTEGER PRIMARY KEY AUTOINCREMENT, scope INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, fields TEXT,
    created INTEGER NOT NULL, updated INTEGER NOT NULL, expires INTEGER, ttl REAL,
    session TEXT, speaker TEXT, day INTEGER, early INTEGER, late INTEGER, marks INTEGER NOT NULL DEFAULT 0,
    words INTEGER NOT NULL DEFAULT 0, importance REAL NOT NULL DEFAULT 0.5,
    reads INTEGER NOT NULL DEFAULT 0, read_at INTEGER, UNIQUE(scope, key));
CREATE INDEX IF NOT EXISTS items_expires ON items(expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS items_scope ON items(scope, updated);
CREATE TABLE IF NOT EXISTS words(
    scope INTEGER, term TEXT, item INTEGER, times INTEGER, PRIMARY KEY(scope, term, item)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS words_item ON words(item);
CREATE TABLE IF NOT EXISTS vectors(
    id INTEGER PRIMARY KEY AUTOINCREMENT, scope INTEGER NOT NULL, item INTEGER NOT NULL, digest BLOB NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS vectors_scope ON vectors(scope, item);
CREATE INDEX IF NOT EXISTS vectors_digest ON vectors(digest);
CREATE TABLE IF NOT EXISTS outbox(
    n INTEGER PRIMARY KEY AUTOINCREMENT, scope INTEGER NOT NULL, vector INTEGER NOT NULL, gone INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS facts(
    id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, subject TEXT NOT NULL COLLATE NOCASE, relation TEXT NOT NULL,
    object TEXT NOT NULL COLLATE NOCASE, valid_at INTEGER NOT NULL, invalid_at INTEGER, recorded_at INTEGER NOT NULL,
    retracted_at INTEGER, sources TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS facts_subject ON facts(scope, subject);
CREATE INDEX IF NOT EXISTS facts_object ON facts(scope, object);
CREATE TABLE IF NOT EXISTS tombstones(digest TEXT PRIMARY KEY, at INTEGER NOT NULL);
"""


class Database:
    """A connection that any thread may use, one at a time; `:memory:` gives one that is gone when it is closed."""

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.RLock()
        self._open = True
        self.connection = sqlite3.connect(str(path), check_same_thread=False, isolation_level=None, timeout=_PATIENCE)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "cache_size=-32000"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.executescript(SCHEMA)
        if self.meta("version", str(VERSION)) != str(VERSION):
            found = self.meta("version")
            self.close()
            raise StoreMismatch(
                f"{path} has schema {found}, this program writes {VERSION}; open it with its own version"
            )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reads that belong together."""
        with self._lock:
            if not self._open:
                raise StoreClosed("this store was closed; open a new one")
            yield self.connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reads that see one state of the file whatever other processes write meanwhile."""
        with self.reading() as connection:
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.rollback()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction: all of it is on the disk when the block ends, or none."""
        with self.reading() as connection:
            if connection.in_transaction:  # a write inside a write is part of it
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def meta(self, name: str, default: str | None = None) -> str | None:
        """What the file says about itself; a default is written down where it says nothing yet."""
        with self.writing() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
            if row is None and default is not None:
                connection.execute("INSERT INTO meta VALUES(?, ?)", (name, default))
                return default
            return None if row is None else str(row[0])

    @property
    def is_open(self) -> bool:
        return self._open

    def vacuum(self) -> None:
        """Write the file anew, without anything that was deleted, and empty the log beside it."""
        with self.reading() as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with self._lock:
            if self._open:
                self._open = False
                self.connection.close()
