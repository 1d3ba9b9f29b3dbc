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
        with database.reading() as db:
            self._digests = {str(one) for (one,) in db.execute("SELECT digest FROM tombstones")}

    def refuse(self, namespace: Namespace) -> None:
        if self._digests and not self._digests.isdisjoint(digests(namespace)):
            raise Erased(
                f"{'.'.join(namespace)} was erased, and a late write would bring it back; nothing was written."
                " If it is to be used again, call `readmit` with the scope that was erased"
            )

    def add(self, db: sqlite3.Connection, scope: Namespace, now: int) -> None:
        db.execute("INSERT OR REPLACE INTO tombstones VALUES(?, ?)", (digest(scope), now))
        self._digests.add(digest(scope))

    def remove(self, scope: Namespace) -> bool:
        with self._database.writing() as db:
            db.execute("DELETE FROM tombstones WHERE digest = ?", (digest(scope),))
            known = digest(scope) in self._digests
            self._digests.discard(digest(scope))
        return known
