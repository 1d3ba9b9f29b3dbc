"""Effects that happened, by the place in the session where they happened.

An intent is on disk before an effect starts and its outcome after it ended. A node that runs again
finds the outcome and does nothing twice; other arguments at the same place, or an intent without an
outcome, are for a person or for the tool's own `reconcile`, never for a guess.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance.plane.control import Control


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nothing is known about this place; the intent has been stored."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The effect at this place has ended; `digest` is of the arguments it had."""

    digest: str
    outcome: Any


@dataclass(frozen=True, slots=True)
class InDoubt:
    """An effect began at this place and nobody knows how it ended."""

    digest: str


class Effects:
    """The effects of one control file."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self._serde = JsonPlusSerializer()

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
    ) -> Fresh | Finished | InDoubt:
        """Store the intent durably, or tell what is known about the place."""
        with self.control.transaction() as db:
            row = db.execute("SELECT state, digest, result_type, result FROM effects WHERE key=?", (key,)).fetchone()
            if row is None:
                db.execute(
                    "INSERT INTO effects(key,session,tool,digest,args,state,execution,business,started) "
                    "VALUES(?,?,?,?,?,'intent',?,?,?)",
                    (key, session, tool, digest, args, execution, business, time.time()),
                )
                return Fresh()
        state, known, result_type, result = row
        if state == "finished":
            return Finished(known, self._serde.loads_typed((result_type, result)))
        return InDoubt(known)

    def finish(self, key: str, outcome: Any) -> None:
        """Store the outcome durably."""
        kind, blob = self._serde.dumps_typed(outcome)
        with self.control.transaction() as db:
            db.execute(
                "UPDATE effects SET state='finished', result_type=?, result=?, finished=? WHERE key=?",
                (kind, blob, time.time(), key),
            )

    def withdraw(self, key: str) -> None:
        """Forget an intent whose effect certainly did not happen."""
        with self.control.transaction() as db:
            db.execute("DELETE FROM effects WHERE key=? AND state='intent'", (key,))
