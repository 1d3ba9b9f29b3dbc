"""Tokens of sessions, in the control file: every process on it spends from the same budget.

What calls in flight may need counts from the moment they are admitted, in every process. A process that
dies with a call under way leaves what it reserved counted: it may have been paid.
"""

from __future__ import annotations

from typing import NamedTuple

from governance.plane.control import Control
from governance.plane.ledger import Ledger
from governance.plane.sessions import Session

SET = "INSERT INTO budgets(session,tokens) VALUES(?,?) ON CONFLICT(session) DO UPDATE SET tokens=excluded.tokens"


class Reserved(NamedTuple):
    """Whether the tokens were set aside, and what was left before."""

    granted: bool
    left: int


class Budgets:
    """The budgets of one control file."""

    def __init__(self, control: Control, ledger: Ledger) -> None:
        self.control = control
        self.ledger = ledger

    def reserve(self, session: Session, tokens: int, total: int) -> Reserved:
        """Set tokens aside where they fit into `total`, in one durable step (blocking)."""
        # The record also knows what was spent by graphs without such a budget, and before the control file was new.
        head = self.ledger.head(session.id)
        with self.control.transaction() as db:
            row = db.execute("SELECT tokens FROM budgets WHERE session=?", (session.id,)).fetchone()
            used = max(row[0] if row else 0, head.tokens if head else 0)
            granted = used + tokens <= total
            session.tokens = used + tokens if granted else used
            if granted:
                db.execute(SET, (session.id, session.tokens))
        return Reserved(granted, max(0, total - used))

    def settle(self, session: Session, difference: int) -> None:
        """Correct what was reserved by what was used more, or less (blocking).

        `session.tokens` is then what the whole session has used and reserved, in every process.
        """
        with self.control.transaction() as db:
            row = db.execute("SELECT tokens FROM budgets WHERE session=?", (session.id,)).fetchone()
            session.tokens = (row[0] if row else session.tokens) + difference
            db.execute(SET, (session.id, session.tokens))
