"""Effects that happened, by the place in the session where they happened and by their business key.

An intent is on disk before an effect starts and its outcome after it ended. A node that runs again
finds the outcome and does nothing twice; other arguments at the same place, or an intent without an
outcome, are for a person or for the tool's own `reconcile`, never for a guess. A business key is unique
over all sessions: whoever comes with it later is at the same effect.

Whoever is at work on an effect holds a lease on it, renewed while the process lives. Nobody else may
judge the effect before the lease was given back or ran out; once somebody else did, the outcome of the
one who was late is not taken any more.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance.plane.answers import Answers, led
from governance.plane.control import Control
from governance.plane.parked import park
from governance.plane.steps import Step, finish_step, note_step, refuse_undone, share_step

LEASE = 15.0
"""Seconds after which an effect is in doubt whose process has died, or was cut off from the control file."""
CUT_OFF = 1024
"""Effects that a deadline cut off and nobody has asked for again."""
BENEATH = "SELECT 1 FROM effects WHERE key >= ? AND key < ? AND state IN ('intent','finished') LIMIT 1"
LEFT = "SELECT key FROM effects WHERE key > ? AND key < ? AND digest = ? AND state = 'intent' AND lease < ? LIMIT 1"
RENEWED = "UPDATE effects SET lease=? WHERE key=? AND execution=? AND state IN ('intent','undoing')"
ALL_BENEATH = BENEATH.replace("SELECT 1", "SELECT started, tool, key, state").removesuffix(" LIMIT 1")
COLUMNS = "key, session, digest, state, lease, result_type, result, parked, parked_digest"


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to happen; `key` is its place, `execution` whoever is at work on it."""

    key: str
    session: str
    tool: str
    digest: str
    args: str
    execution: str
    business: str | None = None
    step: Step | None = None
    """The step of a saga that it is, where its session is to be undone when it fails."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nothing has happened at this place; the intent has been stored."""

    asked: bool = False
    """Whether the tool was called before and asked a person: nothing happened unless it acted before it asked."""


@dataclass(frozen=True, slots=True)
class Running:
    """Somebody is at work on the effect at this place, or takes it back, or died a moment ago."""

    digest: str
    session: str = ""
    """Another session that came with the same business key first."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The effect at this place has ended; `digest` is of the arguments it had."""

    digest: str
    outcome: Any
    session: str = ""


@dataclass(frozen=True, slots=True)
class InDoubt:
    """An effect began at this place and nobody knows how it ended; with these arguments it is the caller's now."""

    digest: str
    session: str = ""


Known = Fresh | Running | Finished | InDoubt


class _Row(NamedTuple):
    key: str
    session: str
    digest: str
    state: str
    lease: float
    result_type: str | None
    result: bytes | None
    parked: str | None
    parked_digest: str | None

    def answers(self, digest: str) -> bool:
        """Whether these arguments are at this effect: its own, or those a person has taken for the same."""
        return digest == self.digest or (self.parked is None and digest == self.parked_digest)


class Effects:
    """The effects of one control file, and the answers of models that they stand on."""

    def __init__(self, control: Control, *, lease: float = LEASE) -> None:
        self.control = control
        self.lease = lease
        self.answers = Answers(control)
        self._serde = JsonPlusSerializer()
        self._held: dict[str, tuple[str, int]] = {}
        self._cut_off: dict[str, str] = {}
        self._renewed = -math.inf
        control.chores.append(self._renew)

    def tried(self, intent: Intent) -> Intent:
        """The same intent, at the place where its node has left just that in doubt: there it is tried again.

        A second call of it has another ordinal, whoever makes it: code that catches an error, a middleware.
        """
        calls = intent.key.rpartition(".")[0]
        if self.control.rows("SELECT 1 FROM effects WHERE key=?", (intent.key,)):
            self._cut_off.pop(intent.key, None)
            return intent
        for key, digest in list(self._cut_off.items()):
            if digest == intent.digest and key.rpartition(".")[0] == calls:
                self._cut_off.pop(key, None)
                return replace(intent, key=key)
        found = self.control.rows(LEFT, (f"{calls}.", f"{calls}/", intent.digest, time.time()))
        return replace(intent, key=found[0][0]) if found else intent

    def cut_off(self, intent: Intent) -> None:
        """Remember that its caller was not told how it ended: whoever asks for just that next, there, is at it."""
        while len(self._cut_off) >= CUT_OFF:
            self._cut_off.pop(next(iter(self._cut_off)), None)
        self._cut_off[intent.key] = intent.digest

    def begin(self, intent: Intent) -> Known:
        """Store the intent durably, or tell what is known about the place or the business key.

        What was said on the way to an effect that begins now is said again from now on: whoever runs this
        again after a crash is told the same, and asks for the same.
        """
        with self.control.transaction() as db:
            known = self._begin(db, intent, time.time())
        if isinstance(known, Fresh) or (isinstance(known, InDoubt) and known.digest == intent.digest):
            self.hold(intent.key, intent.execution)
        return known

    def _begin(self, db: sqlite3.Connection, intent: Intent, now: float) -> Known:
        refuse_undone(db, intent.session)
        row = self._at(db, intent)
        if row is not None and row.state == "undone":  # it happened once, and is asked for anew
            db.execute("DELETE FROM effects WHERE key=?", (row.key,))
            row = self._at(db, intent)
        if row is None:
            db.execute(
                "INSERT INTO effects(key,session,tool,digest,args,state,execution,business,started,lease) "
                "VALUES(?,?,?,?,?,'intent',?,?,?,?)",
                (intent.key, intent.session, intent.tool, intent.digest, intent.args, intent.execution,
                 intent.business, now, now + self.lease),
            )  # fmt: skip
            note_step(db, intent.session, intent.key, intent.step)
            led(db, intent.session, intent.key)
            return Fresh()
        elsewhere = "" if row.key == intent.key else row.session
        if row.state == "finished":
            assert row.result_type is not None and row.result is not None
            outcome = self._serde.loads_typed((row.result_type, row.result))
            share_step(db, row.key, row.session, intent.session)
            return Finished(intent.digest if row.answers(intent.digest) else row.digest, outcome, elsewhere)
        if row.state == "undoing" or (row.state == "intent" and (row.lease > now or self.holds(row.key))):
            return Running(row.digest, elsewhere)
        if row.digest != intent.digest and not (elsewhere and row.state == "asked"):
            return InDoubt(row.digest, elsewhere)
        db.execute(
            "UPDATE effects SET key=?, session=?, digest=?, args=?, state='intent', execution=?, lease=? WHERE key=?",
            (intent.key, intent.session, intent.digest, intent.args, intent.execution, now + self.lease, row.key),
        )
        note_step(db, intent.session, intent.key, intent.step)
        if elsewhere:
            led(db, intent.session, intent.key)
        return Fresh(asked=True) if row.state == "asked" else InDoubt(row.digest, elsewhere)

    def confirm(self, key: str, execution: str) -> bool:
        """Renew the lease, last thing before the effect; False where it is not this execution's any more."""
        with self.control.transaction(synced=False) as db:
            return db.execute(
                "UPDATE effects SET lease=? WHERE key=? AND execution=? AND state='intent'",
                (time.time() + self.lease, key, execution),
            ).rowcount > 0  # fmt: skip

    def finish(self, key: str, execution: str, outcome: Any, step: Step | None = None) -> bool:
        """Store the outcome durably; False where the effect is not this execution's any more."""
        stored = self._serde.dumps_typed(outcome)
        with self.control.transaction() as db:
            return _finish(db, key, execution, stored, step)

    def finish_soon(self, key: str, execution: str, outcome: Any, step: Step | None = None) -> None:
        """`finish` for an effect that nobody waits for any more. Does not block."""
        stored = self._serde.dumps_typed(outcome)

        def work(db: sqlite3.Connection) -> None:
            _finish(db, key, execution, stored, step)
            self.let_go(key, execution)

        self.control.soon(work)

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

    def leave_soon(self, key: str, execution: str) -> None:
        """`leave` for an effect that nobody waits for any more. Does not block."""

        def work(db: sqlite3.Connection) -> None:
            _leave(db, key, execution, "intent")
            self.let_go(key, execution)

        self.control.soon(work)

    def park(self, intent: Intent, why: str) -> str:
        """Set an effect aside for a person, with what was asked for; returns its id."""
        with self.control.transaction() as db:
            row = self._at(db, intent)
            key = intent.key if row is None else row.key
            parked = park(db, key, why, intent.digest, intent.args, by=intent.execution)
            led(db, intent.session, intent.key)
        self.let_go(intent.key, intent.execution)
        return parked

    def hold(self, key: str, execution: str) -> None:
        """Renew the lease from now on, until it is let go of."""
        self._held[key] = (execution, os.getpid())
        self.control.watch()

    def let_go(self, key: str, execution: str) -> None:
        """Renew the lease no longer; where the effect is still open, it runs out by itself. Does not block."""
        if self._held.get(key, ("", 0))[0] == execution:
            del self._held[key]

    def happened_beneath(self, place: str) -> bool:
        """Whether an effect of the node at a place, or of a node in it, has begun or ended."""
        ranges = ((place + sign, place + chr(ord(sign) + 1)) for sign in (">", "/"))
        return any(self.control.rows(BENEATH, one) for one in ranges)

    def left_beneath(self, place: str) -> list[tuple[str, str, str]]:
        """Tool, place and state of every effect of the node at a place, or of a node in it, oldest first."""
        ranges = ((place + sign, place + chr(ord(sign) + 1)) for sign in (">", "/"))
        found = sorted(row for one in ranges for row in self.control.rows(ALL_BENEATH, one))
        return [(tool, key, state) for _, tool, key, state in found]

    def _at(self, db: sqlite3.Connection, intent: Intent) -> _Row | None:
        """What is known by the place, or else by the business key."""
        row = db.execute(f"SELECT {COLUMNS} FROM effects WHERE key=?", (intent.key,)).fetchone()
        if row is None and intent.business is not None:
            row = db.execute(f"SELECT {COLUMNS} FROM effects WHERE business=?", (intent.business,)).fetchone()
        return None if row is None else _Row(*row)

    def _end(self, key: str, execution: str, state: str) -> None:
        with self.control.transaction() as db:
            _leave(db, key, execution, state)
        self.let_go(key, execution)

    def holds(self, key: str) -> bool:
        """What a parent process held is not its child's."""
        return key in self._held and self._held[key][1] == os.getpid()

    def _renew(self, db: sqlite3.Connection) -> None:
        """Called by the control file's watcher, about once a second: far more often than a lease runs out."""
        now, clock = time.time(), time.monotonic()
        if not self._held or clock - self._renewed < self.lease / 5:
            return
        self._renewed = clock
        mine = [(now + self.lease, key, one) for key, (one, _) in self._held.copy().items() if self.holds(key)]
        db.executemany(RENEWED, mine)


def _finish(db: sqlite3.Connection, key: str, execution: str, stored: tuple[str, bytes], step: Step | None) -> bool:
    done = db.execute(
        "UPDATE effects SET state='finished', result_type=?, result=?, finished=?, "
        "parked=NULL, parked_digest=NULL, parked_args=NULL WHERE key=? AND execution=? AND state='intent'",
        (*stored, time.time(), key, execution),
    ).rowcount > 0  # fmt: skip
    if done and step is not None:
        finish_step(db, key)
    return done


def _leave(db: sqlite3.Connection, key: str, execution: str, state: str) -> None:
    db.execute(
        "UPDATE effects SET state=?, lease=0 WHERE key=? AND execution=? AND state='intent'", (state, key, execution)
    )
