"""Effects set aside for a person: which wait, and what the person found out about one.

An effect waits where nobody saw how it ended, or where other arguments came to one that has ended. The
person says that it happened, and its outcome is then found like any other; or that it may happen
(again), and its place is fresh.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from dataclasses import dataclass
from typing import Any, Literal

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance.errors import ConfigurationError
from governance.operators import refuse_inside
from governance.plane.control import Control

WAITING = (
    "SELECT key, session, tool, business, state, args, parked, parked_args, started FROM effects "
    "WHERE (parked IS NOT NULL AND state != 'undoing') OR (state = 'intent' AND lease < ?) ORDER BY started"
)
STILL = "((parked IS NOT NULL AND state != 'undoing') OR (state='intent' AND lease < ?))"
CUT_OFF = "it began, and the run that began it was cut off"
Finding = Literal["happened", "may-happen"]


@dataclass(frozen=True, slots=True)
class Parked:
    """One effect that waits: `args` are those it began with, `asked` those that came later, if others did."""

    id: str
    session: str
    tool: str
    business: str | None
    ended: bool
    args: str
    why: str
    asked: str | None
    since: float
    key: str


def park(db: sqlite3.Connection, key: str, why: str, digest: str, args: str, *, by: str) -> str:
    """Note within a transaction why an effect waits, and what was asked for; returns its id.

    `by` is the execution that gives it up; whoever else is at work on it meanwhile keeps the lease.
    """
    db.execute("UPDATE effects SET parked=?, parked_digest=?, parked_args=? WHERE key=?", (why, digest, args, key))
    db.execute("UPDATE effects SET lease=0 WHERE key=? AND execution=?", (key, by))
    (business,) = db.execute("SELECT business FROM effects WHERE key=?", (key,)).fetchone()
    return known_as(key, business)


def known_as(key: str, business: str | None) -> str:
    """The id of an effect, short enough to be typed; the same from whichever place its business key is asked for."""
    return hashlib.sha256((business or key).encode()).hexdigest()[:12]


def waiting(control: Control) -> list[Parked]:
    """Every effect that waits for a person, or for its session to be run on; the oldest first."""
    return [
        Parked(
            known_as(key, business), session, tool, business, state == "finished", args, why or CUT_OFF,
            asked if asked != args else None, started, key,
        )
        for key, session, tool, business, state, args, why, asked, started in control.rows(WAITING, (time.time(),))
    ]  # fmt: skip


def find(control: Control, effect: str) -> Parked:
    """The effect that waits under an id, or the beginning of one; raises `ConfigurationError`."""
    found = [one for one in waiting(control) if one.id.startswith(effect)]
    if not effect or len(found) != 1:
        number = "none" if not found else f"{len(found)} of them"
        raise ConfigurationError(
            f"expected one waiting effect with the id {effect!r}, found {number}; see `sidecar effects list`"
        )
    return found[0]


def settle(control: Control, effect: str, finding: Finding, *, outcome: Any = None) -> Parked:
    """Let a session go on: with the outcome a person knows of, or with the effect still to be done.

    Code of a node settles nothing: inside a governed call this raises `AuthorityRefused`.
    """
    refuse_inside("settle an effect")
    one = find(control, effect)
    with control.transaction() as db:
        if finding == "may-happen":
            changed = db.execute(f"DELETE FROM effects WHERE key=? AND {STILL}", (one.key, time.time())).rowcount
        else:
            changed = _happened(db, one, outcome)
    if not changed:
        raise ConfigurationError(f"effect {one.id} does not wait any more; see `sidecar effects list`")
    return one


def _happened(db: sqlite3.Connection, one: Parked, outcome: Any) -> int:
    """What was asked for with other arguments is answered by this outcome too: `parked_digest` stays."""
    if one.ended and outcome is None:
        return db.execute(f"UPDATE effects SET parked=NULL WHERE key=? AND {STILL}", (one.key, time.time())).rowcount
    kind, blob = JsonPlusSerializer().dumps_typed(outcome)
    return db.execute(
        "UPDATE effects SET parked=NULL, state='finished', result_type=?, result=?, finished=? "
        f"WHERE key=? AND {STILL}",
        (kind, blob, time.time(), one.key, time.time()),
    ).rowcount
