"""The steps of sagas: which effects a session can still take back, in the order in which they ended.

A step is written with the intent of its effect, in the same transaction. Once the run has come to its
end they are gone: what is done then is done.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from governance.errors import SessionUndone

NEXT = "(SELECT coalesce(max(n), 0) + 1 FROM steps WHERE session=?)"


@dataclass(frozen=True, slots=True)
class Step:
    """Where an effect happens: the governed graph by its name, and the path of the call."""

    graph: str
    path: str


def note_step(db: sqlite3.Connection, session: str, key: str, step: Step | None) -> None:
    """An effect begins; from now on the saga knows of it."""
    if step is not None:
        db.execute(
            f"INSERT OR REPLACE INTO steps(key, session, n, graph, path, state) VALUES(?,?,{NEXT},?,?,'done')",
            (key, session, session, step.graph, step.path),
        )


def finish_step(db: sqlite3.Connection, key: str) -> None:
    """An effect has ended: it is the newest of its session."""
    db.execute(
        "UPDATE steps SET n=(SELECT max(n) + 1 FROM steps AS s WHERE s.session = steps.session) WHERE key=?", (key,)
    )


def share_step(db: sqlite3.Connection, key: str, owner: str, session: str) -> None:
    """Another session is told the outcome, and stands on it from now on."""
    if owner != session:
        db.execute("UPDATE steps SET shared=? WHERE key=? AND state='done'", (session, key))


def refuse_undone(db: sqlite3.Connection, session: str) -> None:
    """Raise where a session is to do something new while what it did is taken back, or after that."""
    found = db.execute("SELECT state FROM sagas WHERE session=?", (session,)).fetchone()
    if found is not None:
        raise undone(session, found[0])


def undone(session: str, state: str) -> SessionUndone:
    """Why a session does not go on, and what to do about it."""
    said = {
        "undoing": "is being undone; finish that with `sidecar saga resume`",
        "parked": f"is undone but for what a person has to settle; see `sidecar saga show {session}`",
        "undone": "was undone, so it cannot go on where it was; give it a new input, or take a new thread",
    }
    return SessionUndone(f"session {session} {said[state]}", session=session, state=state)
