"""Scopes that were erased: what comes late for them is refused. Digests are kept, so no name outlives its erasure."""

from __future__ import annotations

import sqlite3

from memory.database import Database
from memory.errors import Erased
from memory.namespaces import Namespace, digest, digests


class Tombstones:
    """Asked within the transaction that writes, so no write slips in between an erasure and its tombstone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def refuse(self, db: sqlite3.Connection, namespace: Namespace) -> None:
        if self._database.connection is not db:  # the hot tier writes to a database of its own
            with self._database.reading() as truth:
                return self.refuse(truth, namespace)
        if db.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone() is None:
            return
        over = list(digests(namespace))
        marks = ", ".join("?" * len(over))
        if db.execute(f"SELECT 1 FROM tombstones WHERE digest IN ({marks})", over).fetchone():
            raise Erased(
                f"{'.'.join(namespace)} was erased, and a late write would bring it back; nothing was written."
                " If it is to be used again, call `readmit` with the scope that was erased"
            )

    def add(self, db: sqlite3.Connection, scope: Namespace, now: int) -> None:
        db.execute("INSERT OR REPLACE INTO tombstones VALUES(?, ?)", (digest(scope), now))

    def remove(self, scope: Namespace) -> bool:
        with self._database.writing() as db:
            return db.execute("DELETE FROM tombstones WHERE digest = ?", (digest(scope),)).rowcount > 0
