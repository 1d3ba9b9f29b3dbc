"""The circuits that are not closed, of all processes on one control file; the snapshot tells every breaker."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Mapping

from governance.plane import windows
from governance.plane.breaker import Breaker, Change
from governance.plane.circuit import Circuit
from governance.plane.control import Control

COLUMNS = "state, reason, since, until, out, good, turn"
FORGOTTEN = 3600.0
"""Seconds after which a circuit that nobody tries again is closed: nobody has asked for the dependency since."""


class Circuits:
    """Rows of circuits by the name and the rules of their breakers."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._known: Mapping[str, Circuit] = {}
        self._breakers: weakref.WeakValueDictionary[str, Breaker] = weakref.WeakValueDictionary()

    def join(self, breaker: Breaker) -> None:
        """From now on this breaker hears what others find out; it begins with what is known."""
        self._breakers[breaker.key] = breaker
        known = None
        while known is not self._known:  # it may be read anew meanwhile
            known = self._known
            breaker.learn(known.get(breaker.key))

    def read(self, db: sqlite3.Connection) -> None:
        """The snapshot, read anew: only what has changed is told."""
        known = {row[0]: Circuit(*row[1:]) for row in db.execute(f"SELECT key, {COLUMNS} FROM circuits")}
        before, self._known = self._known, known
        for key in known.keys() | before.keys():
            breaker = self._breakers.get(key)
            if breaker is not None:
                breaker.learn(known.get(key))

    def change(self, breaker: Breaker, change: Change) -> None:
        with self._control.transaction(synced=False) as db:
            changed = self._change(breaker, change, db)
        if changed:
            self._control.ring()

    def change_soon(self, breaker: Breaker, change: Change) -> None:
        def work(db: sqlite3.Connection) -> None:
            self._change(breaker, change, db)

        self._control.soon(work)

    def _change(self, breaker: Breaker, change: Change, db: sqlite3.Connection) -> bool:
        row = db.execute(f"SELECT {COLUMNS} FROM circuits WHERE key=?", (breaker.key,)).fetchone()
        found = Circuit(*row) if row else None
        after = breaker.agreed(found, change)
        if after.turn != (found.turn if found else ""):
            windows.forget(db, breaker.key)
        if after.state == "closed":
            db.execute("DELETE FROM circuits WHERE key=?", (breaker.key,))
            return found is not None
        if after == found:
            return False
        values = (after.state, after.reason, after.since, after.until, after.out, after.good, after.turn)
        db.execute("INSERT OR REPLACE INTO circuits VALUES(?,?,?,?,?,?,?,?)", (breaker.key, *values))
        db.execute("DELETE FROM circuits WHERE until < ?", (after.since - FORGOTTEN,))
        return True
