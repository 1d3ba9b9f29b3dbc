"""Effects that happened, by the place in the session where they happened.

An intent is on disk before an effect starts and its outcome after it ended. A node that runs again
finds the outcome and does nothing twice; other arguments at the same place, or an intent without an
outcome, are for a person or for the tool's own `reconcile`, never for a guess.

Whoever is at work on an effect holds a lease on it, renewed while the process lives. Nobody else may
judge the effect before the lease was given back or ran out.
"""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance.plane.control import Control

LEASE = 15.0
"""Seconds after which an effect is in doubt whose process has died, or was cut off from the control file."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nothing has happened at this place; the intent has been stored."""


@dataclass(frozen=True, slots=True)
class Running:
    """Somebody is at work on the effect at this place, or died a moment ago."""

    digest: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The effect at this place has ended; `digest` is of the arguments it had."""

    digest: str
    outcome: Any


@dataclass(frozen=True, slots=True)
class InDoubt:
    """An effect began at this place and nobody knows how it ended; with these arguments it is the caller's now."""

    digest: str


Known = Fresh | Running | Finished | InDoubt


class Effects:
    """The effects of one control file."""

    def __init__(self, control: Control, *, lease: float = LEASE) -> None:
        self.control = control
        self.lease = lease
        self._serde = JsonPlusSerializer()
        self._held: dict[str, tuple[str, int]] = {}
        self._renewed = 0.0
        control.chores.append(self._renew)

    def begin(
        self,
        key: str,
        *,
        session: str,
        tool: str,
        digest: str,
        args: str,
        execution: str,
        business: str | None,
    ) -> Known:
        """Store the intent durably, or tell what is known about the place."""
        now = time.time()
        with self.control.transaction() as db:
            row = db.execute(
                "SELECT state, digest, lease, result_type, result FROM effects WHERE key=?", (key,)
            ).fetchone()
            if row is None:
                db.execute(
                    "INSERT INTO effects(key,session,tool,digest,args,state,execution,business,started,lease) "
                    "VALUES(?,?,?,?,?,'intent',?,?,?,?)",
                    (key, session, tool, digest, args, execution, business, now, now + self.lease),
                )
            else:
                state, known, lease, result_type, result = row
                if state == "finished":
                    return Finished(known, self._serde.loads_typed((result_type, result)))
                if state == "intent" and (lease > now or self._holds(key)):
                    return Running(known)
                if known != digest:
                    return InDoubt(known)
                db.execute(
                    "UPDATE effects SET state='intent', execution=?, lease=? WHERE key=?",
                    (execution, now + self.lease, key),
                )
        self._held[key] = (execution, os.getpid())
        self.control.watch()
        return Fresh() if row is None or state == "asked" else InDoubt(digest)

    def finish(self, key: str, outcome: Any) -> None:
        """Store the outcome durably."""
        kind, blob = self._serde.dumps_typed(outcome)
        with self.control.transaction() as db:
            db.execute(
                "UPDATE effects SET state='finished', result_type=?, result=?, finished=? WHERE key=?",
                (kind, blob, time.time(), key),
            )

    def withdraw(self, key: str, execution: str) -> None:
        """Forget an intent whose effect certainly did not happen."""
        with self.control.transaction() as db:
            db.execute("DELETE FROM effects WHERE key=? AND execution=? AND state='intent'", (key, execution))

    def asked(self, key: str, execution: str) -> None:
        """Remember that the tool asked a person before it did anything: the same call, made again, is the first."""
        self._end(key, execution, "asked")

    def leave(self, key: str, execution: str) -> None:
        """Leave an intent behind whose end nobody saw; whoever comes next may judge it."""
        self._end(key, execution, "intent")

    def let_go(self, key: str, execution: str) -> None:
        """Renew the lease no longer; where the effect is still open, it runs out by itself. Does not block."""
        if self._held.get(key, ("", 0))[0] == execution:
            del self._held[key]

    def _end(self, key: str, execution: str, state: str) -> None:
        with self.control.transaction() as db:
            db.execute(
                "UPDATE effects SET state=?, lease=0 WHERE key=? AND execution=? AND state='intent'",
                (state, key, execution),
            )
        self.let_go(key, execution)

    def _holds(self, key: str) -> bool:
        """What a parent process held is not its child's."""
        return key in self._held and self._held[key][1] == os.getpid()

    def _renew(self, db: sqlite3.Connection) -> None:
        """Called by the control file's watcher, about once a second: far more often than a lease runs out."""
        now = time.time()
        if not self._held or now - self._renewed < self.lease / 5:
            return
        self._renewed = now
        mine = [(now + self.lease, key, one) for key, (one, _) in self._held.copy().items() if self._holds(key)]
        db.executemany("UPDATE effects SET lease=? WHERE key=? AND execution=? AND state='intent'", mine)
