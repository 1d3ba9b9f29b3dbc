"""What the shop refuses, as one tree; every message names the rule, what came and what is possible.

ShopError
├── NotAShop              the file is something else
├── NotAuthenticated      email and postcode do not belong together
├── UnknownOrder          no such order, or not one of this customer
├── InvalidRequest        an amount or a reason that no rule can be applied to
├── CancelRefused         the order has left the house
├── ReopenRefused         the cancellation cannot be taken back
└── RefundRefused
    ├── RefundNotDue      not delivered, lost or cancelled yet
    ├── RefundWindowClosed
    ├── RefundTooLarge
    └── RefundConflict    the same business key was already paid with another amount

A locked or broken database is no refusal: sqlite3's own errors pass through, so that retries see them.
"""

from __future__ import annotations


class ShopError(Exception):
    """A rule of the shop was violated; nothing was changed."""

    def __init__(self, rule: str, *, came: str, possible: str) -> None:
        super().__init__(f"{rule}; came: {came}; possible: {possible}")
        self.rule = rule
        self.came = came
        self.possible = possible

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive BaseException's own pickling between processes.
        return _rebuilt, (type(self), self.rule, self.came, self.possible)


def _rebuilt(kind: type[ShopError], rule: str, came: str, possible: str) -> ShopError:
    return kind(rule, came=came, possible=possible)


class NotAShop(ShopError):
    """The path holds something that `create_shop` did not make."""


class NotAuthenticated(ShopError):
    """Email and postcode do not belong to one customer; which of the two is wrong is not told."""


class UnknownOrder(ShopError):
    """There is no such order for the person who asks."""


class InvalidRequest(ShopError):
    """An amount or a reason is out of any bounds."""


class CancelRefused(ShopError):
    """The order was shipped and can no longer be cancelled."""


class ReopenRefused(ShopError):
    """The cancellation was followed by something that reopening would contradict."""


class RefundRefused(ShopError):
    """No money was paid back."""


class RefundNotDue(RefundRefused):
    """The order is neither delivered, lost nor cancelled."""


class RefundWindowClosed(RefundRefused):
    """The policy's refund window is over."""


class RefundTooLarge(RefundRefused):
    """More was asked than was paid less what was already refunded."""


class RefundConflict(RefundRefused):
    """The business key was already paid, with a different amount."""
