"""Stops as one process knows them: what the file says, and what was ordered here and is not written yet.

An order is in the snapshot before it is in the file, so that it holds from the moment it is given; reading
the file anew does not lose it. Nothing here blocks, and nothing touches the file but `read` and `write`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

SCHEMA = """
CREATE TABLE IF NOT EXISTS stops(
    scope TEXT NOT NULL, name TEXT NOT NULL, reason TEXT NOT NULL, by TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY(scope, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lifts(scope TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY(scope, name)) WITHOUT ROWID;
"""
Scope = Literal["all", "session", "agent", "tool", "tenant"]
Key = tuple[str, str]
"""Scope and name."""


class Stop(NamedTuple):
    """A standing order that something may not run."""

    scope: str
    name: str
    reason: str
    by: str
    at: float

    @property
    def key(self) -> Key:
        return self.scope, self.name


class Stops:
    """The snapshot; whoever changes it holds its lock for a moment, whoever reads it holds none."""

    def __init__(self) -> None:
        self.standing: Mapping[Key, Stop] = MappingProxyType({})
        self.lifts: Mapping[Key, float] = {}
        """When a stop was lifted last."""
        self._lock = threading.Lock()
        self._ordered: dict[Key, Stop] = {}

    def order(self, order: Stop, *, again: bool = True) -> bool:
        """In force from here on; False where there is such a stop already, and it is not given again."""
        with self._lock:
            if not again and order.key in self.standing:
                return False
            self._ordered[order.key] = order
            self.standing = MappingProxyType({**self.standing, order.key: order})
        return True

    def write(self, key: Key, db: sqlite3.Connection) -> None:
        """Put an order into the file, unless it was lifted meanwhile, or the file has such a stop."""
        order = self._ordered.get(key)
        if order is not None:
            db.execute("INSERT OR IGNORE INTO stops VALUES(?,?,?,?,?)", order)

    def written(self, key: Key) -> None:
        """From here on the file says it."""
        with self._lock:
            self._ordered.pop(key, None)

    def take_back(self, order: Stop, before: Stop | None) -> None:
        """An order that could not be written is none; the stop before it stands."""
        with self._lock:
            self._ordered.pop(order.key, None)
            rest = {key: stop for key, stop in self.standing.items() if key != order.key}
            self.standing = MappingProxyType(rest if before is None else {**rest, order.key: before})

    def lift(self, key: Key, at: float) -> bool:
        """Not in force any more; whether there was an order that no file has."""
        with self._lock:
            unwritten = self._ordered.pop(key, None) is not None
            self.standing = MappingProxyType({k: stop for k, stop in self.standing.items() if k != key})
            self.lifts = {**self.lifts, key: at}
        return unwritten

    def read(self, db: sqlite3.Connection) -> None:
        """Take over what the file says."""
        found = {(row[0], row[1]): Stop(*row) for row in db.execute("SELECT scope, name, reason, by, at FROM stops")}
        lifts = {(scope, name): at for scope, name, at in db.execute("SELECT scope, name, at FROM lifts")}
        with self._lock:
            self.standing = MappingProxyType({**found, **self._ordered})
            self.lifts = lifts
