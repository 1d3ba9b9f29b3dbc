"""What each process has seen of its dependencies lately, for the others to judge by.

While nothing fails anywhere, nobody writes a word. Where something does, each process on the control file
writes once a second what it has seen, in a transaction of the background thread. What holds: what was seen
in an earlier state of a circuit is told to nobody in the next one, and who is gone is forgotten with the window.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable

from governance.plane.breaker import Breaker
from governance.plane.control import Control

TOLD = 1.0
"""Seconds between two words to the others."""
TELL = (
    "INSERT OR REPLACE INTO windows SELECT :key, :holder, :told, :until "
    "WHERE NOT EXISTS (SELECT 1 FROM circuits WHERE key=:key)"
)
"""A circuit that is not closed has no window, whoever has not heard yet that it was opened."""


class Windows:
    """The windows of the breakers of one process, and what it heard of those of others."""

    def __init__(self, control: Control, clock: Callable[[], float]) -> None:
        self._control = control
        self._clock = clock
        self._holder = os.urandom(8).hex()
        self._breakers: weakref.WeakValueDictionary[str, Breaker] = weakref.WeakValueDictionary()
        self._told: dict[str, str] = {}
        self._heard: dict[str, list[str]] = {}
        self._due = float("-inf")

    def join(self, breaker: Breaker) -> None:
        """From now on this breaker judges by what others see as well."""
        self._breakers[breaker.key] = breaker
        heard = None
        while heard is not self._heard:  # it may be read anew meanwhile
            heard = self._heard
            breaker.hear(heard.get(breaker.key, ()))

    def read(self, db: sqlite3.Connection) -> None:
        """With the snapshot: what the others have seen."""
        heard: dict[str, list[str]] = {}
        query = "SELECT key, told FROM windows WHERE holder!=? ORDER BY key, holder"
        for key, told in db.execute(query, (self._holder,)):
            heard.setdefault(key, []).append(told)
        before, self._heard = self._heard, heard
        for key in heard.keys() | before.keys():
            breaker = self._breakers.get(key)
            if breaker is not None and heard.get(key) != before.get(key):
                breaker.hear(heard.get(key, ()))

    def tend(self, db: sqlite3.Connection) -> None:
        """A chore of the control file's thread: tell what has changed."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + TOLD
        breakers = [breaker for ref in self._breakers.valuerefs() if (breaker := ref()) is not None]
        told = {breaker.key: word for breaker in breakers if (word := breaker.told())}
        if told == self._told:
            return
        until = {breaker.key: now + breaker.policy.window for breaker in breakers}
        with self._control.transaction(synced=False) as db:
            db.execute("DELETE FROM windows WHERE until<?", (now,))
            for key in self._told.keys() - told.keys():
                db.execute("DELETE FROM windows WHERE key=? AND holder=?", (key, self._holder))
            for key in told:
                if told[key] != self._told.get(key):
                    db.execute(TELL, {"key": key, "holder": self._holder, "told": told[key], "until": until[key]})
        self._told = told


def forget(db: sqlite3.Connection, key: str) -> None:
    """A circuit has turned: what was seen before says nothing about it."""
    db.execute("DELETE FROM windows WHERE key=?", (key,))
