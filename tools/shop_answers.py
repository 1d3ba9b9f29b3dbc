"""What the shop's tools say: short, the same words for the same facts, amounts in cents and in euros."""

from __future__ import annotations

from datetime import date

from tools.shop_errors import ShopError
from tools.shop_policy import Policy
from tools.shop_records import Cancellation, Customer, Order, Refund, euros
from tools.shop_rules import check_cancel, check_refund, refund_until


def customer_text(customer: Customer, orders: tuple[Order, ...]) -> str:
    """Who the customer is and one line for each order."""
    lines = [f"authenticated: {customer.name}, {customer.email}"]
    lines += [
        f"order {order.id}: {order.status}, ordered {order.ordered_on}, paid {amount_text(order.paid_cents)}"
        for order in orders
    ]
    return "\n".join(lines if orders else [*lines, "no orders"])


def order_text(order: Order, *, refund: Refund | None, today: date, policy: Policy) -> str:
    """One order, and what can be done with it today; `refund` is the one that was already made for it."""
    refunding = _refund_made(refund) if refund else _refund_option(order, today=today, policy=policy)
    return "\n".join(
        [
            f"order {order.id}: {order.status}{_since(order)}, ordered {order.ordered_on}",
            *(f"- {line.quantity} x {line.name} at {euros(line.unit_cents)}" for line in order.lines),
            f"paid: {amount_text(order.paid_cents)}; refunded: {amount_text(order.refunded_cents)}",
            f"cancel: {_cancel_option(order)}",
            f"refund: {refunding}",
        ]
    )


def cancellation_text(cancellation: Cancellation) -> str:
    return (
        f"cancelled order {cancellation.order_id} on {cancellation.cancelled_on} "
        f"(it was {cancellation.status_before}): {cancellation.reason}"
    )


def refund_text(refund: Refund) -> str:
    return (
        f"refunded {amount_text(refund.amount_cents)} of order {refund.order_id} "
        f"on {refund.refunded_on}: {refund.reason}"
    )


def preview_cancel_text(order: Order) -> str:
    if order.cancellation is not None:
        return f"would change nothing: {cancellation_text(order.cancellation)}"
    return f"would cancel order {order.id}, now {order.status}; it can be reopened while its goods are in stock"


def preview_refund_text(order: Order, *, amount_cents: int, policy: Policy) -> str:
    left = order.refundable_cents - amount_cents
    person = f"; above {euros(policy.person_above_cents)} a person decides"
    return (
        f"would refund {amount_text(amount_cents)} of order {order.id} to {order.customer_email}, "
        f"{amount_text(left)} stays; cannot be undone{person if policy.needs_person(amount_cents) else ''}"
    )


def amount_text(cents: int) -> str:
    return f"{cents} cents ({euros(cents)})"


def _since(order: Order) -> str:
    day = order.refund_due_on or order.shipped_on
    return f" {day}" if day else ""


def _cancel_option(order: Order) -> str:
    try:
        check_cancel(order)
    except ShopError as error:
        return f"not possible, {error.rule} ({error.came})"
    return "possible"


def _refund_made(refund: Refund) -> str:
    return f"already made, {refund_text(refund)}; a further one is decided by a person"


def _refund_option(order: Order, *, today: date, policy: Policy) -> str:
    try:
        check_refund(order, amount_cents=max(order.refundable_cents, 1), today=today, policy=policy)
    except ShopError as error:
        return f"not possible, {error.rule} ({error.came})"
    most, last_day = amount_text(order.refundable_cents), refund_until(order, policy=policy)
    person = f"; above {euros(policy.person_above_cents)} a person decides"
    return f"at most {most} until {last_day}{person if policy.needs_person(order.refundable_cents) else ''}"
