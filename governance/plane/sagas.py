"""Sessions that are taken back: which step is next, who is at work on it, and what became of each.

A session is `undoing` from the moment on when that was decided, whatever becomes of the process; then
`undone`, or `parked` while a person has to settle what could not be taken back. To take an effect back
is an effect itself: it is marked on disk before it starts, whoever is at work on it holds the lease of
the effect, and one that was cut off is in doubt.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance.errors import ConfigurationError, UndoHeld
from governance.plane.control import Control
from governance.plane.effects import Effects
from governance.plane.parked import known_as

State = Literal["undoing", "parked", "undone"]
OPEN = "e.state IN ('intent','finished','undoing') AND s.state IN ('done','undoing')"
JOINED = "steps AS s JOIN effects AS e ON e.key = s.key WHERE s.session=?"
NEXT = (
    "SELECT s.key, s.path, s.state, s.shared, e.tool, e.business, e.state, e.args, e.result_type, e.result, e.lease "
    f"FROM {JOINED} AND {OPEN} ORDER BY e.state = 'intent' DESC, s.n DESC LIMIT 1"
)
"""What is in doubt comes first, since it may still turn out to be the newest."""
COUNT = f"SELECT count(*) FROM {JOINED} AND {OPEN}"
BEGUN = "INSERT OR IGNORE INTO sagas(session, state, graph, cause, reason, by, began) VALUES(?,'undoing',?,?,?,?,?)"
MINE = "key=? AND execution=? AND state IN ('intent','undoing')"


class Saga(NamedTuple):
    """A session that is being undone, or was: since when, why, and on whose word."""

    session: str
    state: State
    graph: str
    cause: str
    reason: str
    by: str
    began: float
    ended: float | None


@dataclass(frozen=True, slots=True)
class Due:
    """The effect to be taken back next; `doubt` where nobody saw its end, `cut` where nobody saw that of its undo."""

    key: str
    id: str
    path: str
    tool: str
    args: str
    outcome: Any
    shared: str
    doubt: bool
    cut: bool
    execution: str


class Sagas:
    """The sagas of one control file."""

    def __init__(self, control: Control, effects: Effects) -> None:
        self.control = control
        self._effects = effects
        self._serde = JsonPlusSerializer()

    def of(self, session: str) -> Saga | None:
        found = self.control.rows("SELECT * FROM sagas WHERE session=?", (session,))
        return Saga(*found[0]) if found else None

    def graphs(self, session: str) -> list[str]:
        """The governed graphs, by name, that a session still has something to take back of."""
        found = self.control.rows("SELECT DISTINCT graph FROM steps WHERE session=? ORDER BY graph", (session,))
        return [name for (name,) in found]

    def count(self, session: str) -> int:
        """How many effects of a session are to be taken back, those included of which nobody saw the end."""
        return int(self.control.rows(COUNT, (session,))[0][0])

    def begin(self, session: str, graph: str, cause: str, reason: str, by: str) -> bool:
        """Decide, durably, that a session is taken back; False where it did nothing, or came to its end meanwhile.

        From now on it begins no other effect. Nothing changes where that was decided already.
        """
        with self.control.transaction() as db:
            (count,) = db.execute(COUNT, (session,)).fetchone()
            if count:
                db.execute(BEGUN, (session, graph, cause, reason, by, time.time()))
            return bool(count)

    def commit(self, session: str) -> bool:
        """The run has come to its end: what it did is done, and no later failure takes it back.

        False where it was decided before that it is taken back.
        """
        if not self.control.rows("SELECT 1 FROM steps WHERE session=? LIMIT 1", (session,)):
            return True
        with self.control.transaction() as db:
            if db.execute("SELECT 1 FROM sagas WHERE session=?", (session,)).fetchone():
                return False
            db.execute("DELETE FROM steps WHERE session=?", (session,))
        return True

    def forget(self, session: str) -> None:
        """A session that was undone begins anew."""
        with self.control.transaction() as db:
            if db.execute("DELETE FROM sagas WHERE session=? AND state='undone'", (session,)).rowcount:
                db.execute("DELETE FROM steps WHERE session=?", (session,))
                db.execute("DELETE FROM answers WHERE session=?", (session,))  # no effect stands on them any more

    def tool_due(self, session: str) -> str | None:
        """The tool whose effect is to be taken back next; None where nothing is left."""
        found = self.control.rows(NEXT, (session,))
        return found[0][4] if found else None

    def claim(self, session: str, execution: str) -> Due | None:
        """Mark the next effect as being taken back by this execution; None where nothing is left.

        Raises `UndoHeld` where somebody else is at work on it, or died a moment ago.
        """
        now = time.time()
        with self.control.transaction() as db:
            row = db.execute(NEXT, (session,)).fetchone()
            if row is None:
                return None
            key, path, step, shared, tool, business, state, args, kind, blob, lease = row
            if state != "finished" and (lease > now or self._effects.holds(key)):
                raise UndoHeld(f"somebody is still at work on {tool}, or on taking it back", tool=tool, session=session)
            held = "intent" if state == "intent" else "undoing"
            db.execute(
                "UPDATE effects SET state=?, execution=?, lease=? WHERE key=?",
                (held, execution, now + self._effects.lease, key),
            )
            db.execute("UPDATE steps SET state=? WHERE key=?", ("done" if held == "intent" else "undoing", key))
        self._effects.hold(key, execution)
        outcome = self._serde.loads_typed((kind, blob)) if kind is not None else None
        return Due(
            key, known_as(key, business), path, tool, args, outcome, shared, state == "intent", step == "undoing",
            execution,
        )  # fmt: skip

    def confirm(self, due: Due) -> bool:
        """Renew the lease, last thing before the undo; False where it is not this execution's any more."""
        with self.control.transaction(synced=False) as db:
            lease = time.time() + self._effects.lease
            return db.execute(f"UPDATE effects SET lease=? WHERE {MINE}", (lease, *_mine(due))).rowcount > 0

    def happened(self, due: Due, outcome: Any) -> bool:
        """What was in doubt has happened: it is taken back in its turn."""
        kind, blob = self._serde.dumps_typed(outcome)
        with self.control.transaction() as db:
            return db.execute(
                "UPDATE effects SET state='finished', result_type=?, result=?, finished=?, lease=0, parked=NULL "
                f"WHERE {MINE}",
                (kind, blob, time.time(), *_mine(due)),
            ).rowcount > 0  # fmt: skip

    def release(self, due: Due) -> bool:
        """Its undo did not begin: nothing has changed."""
        return self._end(due, "state='finished'", "done", "")

    def undone(self, due: Due, why: str = "") -> bool:
        """It is not in force any more: its business key is free, and its place."""
        return self._end(due, "state='undone', business=NULL, parked=NULL", "undone", why)

    def park(self, due: Due, why: str) -> bool:
        """Set it aside for a person; nobody else is answered with it until that is settled."""
        return self._end(due, "state='undoing'", "parked", why)

    def close(self, session: str) -> tuple[State, bool]:
        """How it stands with a session of which nothing is left to be tried, and whether that is so only now."""
        with self.control.transaction() as db:
            return close(db, session)

    def let_go(self, due: Due) -> None:
        self._effects.let_go(due.key, due.execution)

    def _end(self, due: Due, effect: str, step: str, why: str) -> bool:
        """False where somebody else has judged it since."""
        with self.control.transaction() as db:
            mine = db.execute(f"UPDATE effects SET {effect}, lease=0 WHERE {MINE}", _mine(due)).rowcount > 0
            if mine:
                db.execute("UPDATE steps SET state=?, why=? WHERE key=?", (step, why, due.key))
        return mine


def close(db: sqlite3.Connection, session: str) -> tuple[State, bool]:
    """`Sagas.close` within a transaction."""
    states = Counter(
        "open" if state in ("done", "undoing") else state
        for (state,) in db.execute(f"SELECT s.state FROM {JOINED} AND ({OPEN} OR s.state='parked')", (session,))
    )
    state: State = "undoing" if states["open"] else "parked" if states["parked"] else "undone"
    changed = "UPDATE sagas SET state=?, ended=? WHERE session=? AND state!=?"
    return state, db.execute(changed, (state, time.time(), session, state)).rowcount > 0


def listed(control: Control) -> list[Saga]:
    """Every session that is being undone or was, the oldest first."""
    return [Saga(*row) for row in control.rows("SELECT * FROM sagas ORDER BY began")]


def open_sessions(control: Control) -> list[tuple[str, str, int]]:
    """Sessions that have not come to their end and could be undone: with their graph, and how many effects."""
    query = (
        "SELECT s.session, s.graph, count(*) FROM steps AS s JOIN effects AS e ON e.key = s.key "
        f"WHERE {OPEN} AND s.session NOT IN (SELECT session FROM sagas) GROUP BY s.session, s.graph ORDER BY s.session"
    )
    return [(session, graph, count) for session, graph, count in control.rows(query)]


def saga_of(control: Control, session: str) -> Saga:
    """The saga of a session; raises `ConfigurationError`."""
    found = control.rows("SELECT * FROM sagas WHERE session=?", (session,))
    if not found:
        raise ConfigurationError(f"session {session!r} was not undone; see `sidecar saga list`")
    return Saga(*found[0])


def _mine(due: Due) -> tuple[str, str]:
    return due.key, due.execution
