"""The shop's business rules: each looks at one request and raises the rule it breaks."""

from __future__ import annotations

from datetime import date, timedelta

from tools.shop_errors import (
    CancelRefused,
    InvalidRequest,
    RefundConflict,
    RefundNotDue,
    RefundTooLarge,
    RefundWindowClosed,
    ReopenRefused,
)
from tools.shop_policy import Policy
from tools.shop_records import Cancellation, Order, Refund, euros

CANCELLABLE = ("placed", "paid", "packed")
LONGEST_REASON = 200


def stated_reason(text: str) -> str:
    """The reason on one line, or a refusal when it is empty or longer than the books take."""
    reason = " ".join(text.split())
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise InvalidRequest(
            f"a reason has 1 to {LONGEST_REASON} characters",
            came=f"{len(reason)} characters",
            possible="state the reason in one sentence",
        )
    return reason


def check_amount(amount_cents: int) -> None:
    """Refuse amounts that are not a whole, positive number of cents."""
    if isinstance(amount_cents, bool) or not isinstance(amount_cents, int) or amount_cents < 1:
        raise InvalidRequest(
            "an amount is a whole number of cents above 0",
            came=repr(amount_cents),
            possible="20.00 EUR is 2000",
        )


def check_cancel(order: Order) -> None:
    """Refuse to cancel what has been shipped."""
    if order.status not in CANCELLABLE:
        raise CancelRefused(
            "an order can be cancelled only before it is shipped",
            came=f"order {order.id} is {order.status}",
            possible="a refund once it is delivered or lost, within the refund window",
        )


def check_reopen(order: Order) -> Cancellation:
    """The cancellation that a reopening takes back; refuse where money has already gone back."""
    if order.cancellation is None:
        raise ReopenRefused(
            "only a cancelled order can be reopened",
            came=f"order {order.id} is {order.status}",
            possible="nothing to take back",
        )
    if order.refunded_cents:
        raise ReopenRefused(
            "a cancelled order can be reopened only while nothing of it is refunded",
            came=f"order {order.id} has {euros(order.refunded_cents)} refunded",
            possible="a new order",
        )
    return order.cancellation


def check_refund(order: Order, *, amount_cents: int, today: date, policy: Policy) -> None:
    """Refuse a refund that is not due, too late or too large."""
    check_amount(amount_cents)
    if order.refund_due_on is None:
        raise RefundNotDue(
            "an order can be refunded only when it was delivered, lost or cancelled",
            came=f"order {order.id} is {order.status}",
            possible="cancel it first" if order.status in CANCELLABLE else "ask again after delivery",
        )
    last_day = refund_until(order, policy=policy)
    if last_day is not None and today > last_day:
        raise RefundWindowClosed(
            f"a refund is possible for {policy.refund_window_days} days after delivery, loss or cancellation",
            came=f"order {order.id} on {today}, its last day was {last_day}",
            possible="a person decides about goodwill",
        )
    if amount_cents > order.refundable_cents:
        raise RefundTooLarge(
            "a refund is at most what was paid less what was refunded",
            came=f"{amount_cents} cents for order {order.id}",
            possible=f"at most {order.refundable_cents} cents ({euros(order.refundable_cents)})",
        )


def check_repeat(first: Refund, *, order_id: int, amount_cents: int) -> None:
    """Refuse a second refund under one business key unless it asks for what was already paid."""
    if (first.order_id, first.amount_cents) != (order_id, amount_cents):
        raise RefundConflict(
            f"a refund is paid once under its key, here {first.key}",
            came=f"{amount_cents} cents for order {order_id}, after {first.amount_cents} cents "
            f"for order {first.order_id} on {first.refunded_on}",
            possible="a person decides about a further refund",
        )


def refund_until(order: Order, *, policy: Policy) -> date | None:
    """The last day of the order's refund window, or None while no refund is due."""
    if order.refund_due_on is None:
        return None
    return order.refund_due_on + timedelta(days=policy.refund_window_days)
