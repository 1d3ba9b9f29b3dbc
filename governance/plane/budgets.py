"""What has been spent, in the control file: every process on it spends from the same budgets.

What calls in flight may need counts from the moment they are admitted, in every process. A process that
dies with a call under way leaves what it reserved counted: it may have been paid.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import NamedTuple

from governance.plane.control import Control
from governance.plane.ledger import Ledger
from governance.plane.sessions import Session

UNITS_PER_MONEY = 1_000_000_000
READ = "SELECT tokens, money FROM spending WHERE account=? AND period=?"
SET = (
    "INSERT INTO spending(account,period,tokens,money) VALUES(?,?,?,?) "
    "ON CONFLICT(account,period) DO UPDATE SET tokens=excluded.tokens, money=excluded.money"
)
CORRECT = "UPDATE spending SET tokens=tokens+?, money=money+? WHERE account=? AND period=?"
PAST = "DELETE FROM spending WHERE account=? AND length(period)=? AND period<?"


class Amount(NamedTuple):
    """Tokens, and what they cost in billionths of the currency that prices are in."""

    tokens: int
    money: int = 0

    def less(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.money - other.money)


class Account(NamedTuple):
    """Whose spending is counted, and in which time."""

    of: str
    """`session`, `tenant` or `all`."""
    name: str
    period: str = ""
    """A day (`2026-11-25`) or a month (`2026-11`) of UTC; empty for good."""

    @property
    def key(self) -> str:
        return f"{self.of}:{self.name}"

    @property
    def title(self) -> str:
        who = {"session": "the session", "all": "everybody together"}.get(self.of, f"the tenant {self.name}")
        return who if self.of != "tenant" or self.name else "whoever names no tenant"

    @property
    def when(self) -> str:
        return {0: "", 7: " this month (UTC)", 10: " today (UTC)"}[len(self.period)]


class Limit(NamedTuple):
    """What an account may spend; in tokens or in billionths of money."""

    account: Account
    total: int
    in_money: bool = False

    def of(self, amount: Amount) -> int:
        return amount.money if self.in_money else amount.tokens

    def left(self, used: Amount) -> int:
        return max(0, self.total - self.of(used))


class Reserved(NamedTuple):
    """Whether it was set aside, what each account has used now, and the limit that it does not fit into."""

    used: dict[Account, Amount]
    short: Limit | None = None


class Budgets:
    """The budgets of one control file."""

    def __init__(self, control: Control, ledger: Ledger) -> None:
        self.control = control
        self.ledger = ledger

    def reserve(self, session: Session, need: Amount, limits: Sequence[Limit]) -> Reserved:
        """Set an amount aside in all accounts where it fits into every limit, else in none (blocking, durable)."""
        # The record also knows what was spent by graphs without such a budget, and before the control file was new.
        head = self.ledger.head(session.id)
        spent = head.tokens if head else 0
        with self.control.transaction() as db:
            used = {account: _used(db, account, session, spent) for account in {limit.account for limit in limits}}
            short = next((one for one in limits if one.of(used[one.account]) + one.of(need) > one.total), None)
            if short is None:
                used = {one: Amount(was.tokens + need.tokens, was.money + need.money) for one, was in used.items()}
                for account, now in used.items():
                    if account.period:
                        db.execute(PAST, (account.key, len(account.period), account.period))
                    db.execute(SET, (account.key, account.period, *now))
        return _noted(session, Reserved(used, short))

    def settle(self, session: Session, difference: Amount, accounts: Sequence[Account]) -> Reserved:
        """Correct what was reserved by what was used more, or less (blocking)."""
        with self.control.transaction() as db:
            used = {}
            for account in accounts:
                db.execute(CORRECT, (*difference, account.key, account.period))
                used[account] = _used(db, account, session, 0)
        return _noted(session, Reserved(used))


def today(per: str | None, now: float | None = None) -> str:
    """The period that it is: a day, a month, or for good."""
    if per is None:
        return ""
    return time.strftime("%Y-%m-%d" if per == "day" else "%Y-%m", time.gmtime(now))


def _used(db: sqlite3.Connection, account: Account, session: Session, spent: int) -> Amount:
    row = db.execute(READ, (account.key, account.period)).fetchone()
    used = Amount(*row) if row else Amount(0)
    if account == Account("session", session.id):
        return Amount(max(used.tokens, spent), used.money)
    return used


def _noted(session: Session, reserved: Reserved) -> Reserved:
    """`session.tokens` is what the whole session has used and reserved, in every process."""
    own = reserved.used.get(Account("session", session.id))
    if own is not None:
        session.tokens = own.tokens
    return reserved
