"""What models said and tools read on the way to an effect, by the place where they were asked.

Asked again after a crash they may say something else, and then the effect that already happened would no
longer be the one that is asked for. So what was said is stored before it can get into a checkpoint, and
once an effect of the session has begun, it is said again at the same place to the same question. Answers
that no effect stands on are never said again.
"""

from __future__ import annotations

import re
import sqlite3
import time
from dataclasses import dataclass

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance.answers import Answer
from governance.plane.control import Control

KEPT = 30 * 24 * 3600.0
"""Seconds an answer is kept; a session that is resumed later asks its models anew."""
PRUNED = 3600.0
LEVEL = re.compile(r"(?:r?(?P<run>\d+):)?.*#(?P<step>-?\d+)(?:\.s.*)?", re.DOTALL)
"""One level of a path: the ordinal of a nested run, a node, its superstep, and its branch."""
KEEP = (
    "INSERT INTO answers(place,asked,session,kind,said,led,at) VALUES(?,?,?,?,?,0,?) ON CONFLICT(place,asked) "
    "DO UPDATE SET kind=excluded.kind, said=excluded.said, at=excluded.at WHERE led=0"
)
"""One that an effect stands on stays as it is."""


@dataclass(frozen=True, slots=True)
class Said:
    """One answer, the digest of what was asked, and where."""

    place: str
    session: str
    asked: str
    answer: Answer


class Answers:
    """The answers of one control file."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self._serde = JsonPlusSerializer()
        self._pruned = time.monotonic()
        control.chores.append(self._prune)

    def at(self, place: str, asked: str) -> Answer | None:
        """What was said here to this question, where an effect stands on it."""
        found = self.control.rows(
            "SELECT kind, said FROM answers WHERE place=? AND asked=? AND led=1", (place, asked)
        )  # fmt: skip
        for row in found:
            answer: Answer = self._serde.loads_typed(row)
            return answer
        return None

    def keep(self, said: Said) -> None:
        """Store an answer before anything can be made of it; until an effect begins, nothing stands on it."""
        try:
            kind, blob = self._serde.dumps_typed(dict(said.answer))
        except TypeError:
            return  # no checkpoint could hold it either
        # Not synced: the intent's own commit is, and takes with it all that was written before.
        with self.control.transaction(synced=False) as db:
            db.execute(KEEP, (said.place, said.asked, said.session, kind, blob, time.time()))

    def lead(self, session: str, key: str) -> None:
        """A person is asked about the effect at a place: what was said before it is said again from now on."""
        with self.control.transaction() as db:
            led(db, session, key)

    def _prune(self, db: sqlite3.Connection) -> None:
        """Called by the control file's watcher."""
        if time.monotonic() - self._pruned >= PRUNED:
            self._pruned = time.monotonic()
            db.execute("DELETE FROM answers WHERE at < ?", (time.time() - KEPT,))


def led(db: sqlite3.Connection, session: str, key: str) -> None:
    """`Answers.lead` within a transaction: that of the intent.

    What was said beside the effect, in another branch, did not lead to it, and may be asked anew.
    """
    waiting = db.execute("SELECT place, asked FROM answers WHERE session=? AND led=0", (session,)).fetchall()
    before = [(place, asked) for place, asked in waiting if leads(place, key)]
    db.executemany("UPDATE answers SET led=1 WHERE place=? AND asked=?", before)


def leads(place: str, key: str) -> bool:
    """Whether what was said at a place may have led to the effect at another, both in the order of time.

    In the same node it may; in another, where that ran in an earlier superstep, or an earlier nested run.
    """
    said, done = (path.partition(">")[0].split("/") for path in (place, key))
    for one, other in zip(said, done, strict=False):
        if one != other:
            moments = LEVEL.fullmatch(one), LEVEL.fullmatch(other)
            return None in moments or _moment(moments[0]) < _moment(moments[1])
    return True


def _moment(level: re.Match[str] | None) -> tuple[int, int]:
    assert level is not None
    return int(level["run"] or 0), int(level["step"])
