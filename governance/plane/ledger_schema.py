"""The tables of a ledger, the same on SQLite and PostgreSQL, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3
import time

from governance.errors import LedgerError
from governance.plane.ledger_rows import BEFORE_GROUPS, UNKEYED, closed

VERSION = 2
TABLES = (
    """CREATE TABLE events(
    session TEXT NOT NULL, n INTEGER NOT NULL, g INTEGER NOT NULL, ts INTEGER NOT NULL, kind TEXT NOT NULL,
    path TEXT NOT NULL, actor TEXT NOT NULL, body TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY(session, n))""",
    """CREATE TABLE heads(
    session TEXT NOT NULL PRIMARY KEY, n INTEGER NOT NULL, hash TEXT NOT NULL, tokens INTEGER NOT NULL)""",
    """CREATE TABLE groups(
    g INTEGER NOT NULL PRIMARY KEY, ts INTEGER NOT NULL, events INTEGER NOT NULL, sum TEXT NOT NULL,
    prev TEXT NOT NULL, hash TEXT NOT NULL)""",
    """CREATE TABLE payloads(
    session TEXT NOT NULL, digest TEXT NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL, stored INTEGER NOT NULL,
    PRIMARY KEY(session, digest))""",
    "CREATE TABLE salts(session TEXT NOT NULL PRIMARY KEY, salt BLOB NOT NULL)",
    """CREATE TABLE archived(
    session TEXT NOT NULL, n INTEGER NOT NULL, hash TEXT NOT NULL, tokens INTEGER NOT NULL, shares TEXT NOT NULL,
    PRIMARY KEY(session, n))""",
    "CREATE TABLE meta(name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
)
NAMES = tuple(table.partition("(")[0].split()[-1] for table in TABLES)
_SQLITE = tuple(
    table if name in ("groups", "payloads") else f"{table} WITHOUT ROWID"
    for name, table in zip(NAMES, TABLES, strict=True)
)
"""Groups are found by number alone, and payloads are large: both are better off in a plain table."""


def create_sqlite(db: sqlite3.Connection) -> None:
    """Put the tables into an empty file, or bring those of version 1 up to date, within a transaction."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return
    if version > VERSION:
        raise LedgerError(f"the ledger has schema version {version}, this Sidecar knows {VERSION}; update Sidecar")
    old = version == 1
    if old:
        db.execute("ALTER TABLE events RENAME TO events_1")
        db.execute("ALTER TABLE heads RENAME TO heads_1")
    for table in _SQLITE:
        db.execute(table)
    if old:
        _take_over(db)
    db.execute(f"PRAGMA user_version={VERSION}")


def _take_over(db: sqlite3.Connection) -> None:
    """Rows of version 1 keep their hashes; one group holds them all, so that they too hang on the chain."""
    total = events = 0
    for (hashed,) in db.execute("SELECT hash FROM events_1"):
        events += 1
        total += int(hashed, 16)
    db.execute(
        "INSERT INTO events SELECT session, n, ?, ts, kind, path, actor, body, prev, hash FROM events_1",
        (BEFORE_GROUPS,),
    )
    db.execute("INSERT INTO heads SELECT session, n, hash, tokens FROM heads_1")
    db.execute("DROP TABLE events_1")
    db.execute("DROP TABLE heads_1")
    group = closed(BEFORE_GROUPS, "", time.time_ns(), events, total, UNKEYED)
    db.execute("INSERT INTO groups VALUES(?,?,?,?,?,?)", group)


def create_postgres() -> list[str]:
    """The same tables in PostgreSQL's words; text sorts and compares by its bytes, as in SQLite."""
    words = {"TEXT": 'TEXT COLLATE "C"', "INTEGER": "BIGINT", "BLOB": "BYTEA"}
    made = []
    for table in TABLES:
        for theirs, ours in words.items():
            table = table.replace(f" {theirs} ", f" {ours} ")
        made.append(table.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS "))
    return made


def declared() -> dict[tuple[str, str], str]:
    """How SQLite's own catalogue describes a ledger that nobody has touched."""
    db = sqlite3.connect(":memory:")
    try:
        create_sqlite(db)
        return objects(db)
    finally:
        db.close()


def objects(db: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Everything that is declared in a file, by kind and name."""
    found = db.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    return {(kind, name): " ".join((sql or "").split()) for kind, name, sql in found}
