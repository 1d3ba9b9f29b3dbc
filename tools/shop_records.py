"""Customers, orders and refunds as the shop hands them out: frozen values, amounts in cents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

Status = Literal["placed", "paid", "packed", "shipped", "delivered", "lost", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Customer:
    id: int
    name: str
    email: str
    postcode: str
    city: str


@dataclass(frozen=True, kw_only=True)
class OrderLine:
    sku: str
    name: str
    quantity: int
    unit_cents: int


@dataclass(frozen=True, kw_only=True)
class Refund:
    """Money that was paid back; `key` is its business identity and is paid once."""

    key: str
    order_id: int
    amount_cents: int
    reason: str
    refunded_on: date


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """An order that was taken back before it was shipped; `status_before` is what a reopening restores."""

    order_id: int
    status_before: Status
    cancelled_on: date
    reason: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of an order's history."""

    kind: str
    happened_on: date
    detail: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order with everything a decision about it needs."""

    id: int
    customer_email: str
    status: Status
    ordered_on: date
    shipped_on: date | None
    settled_on: date | None
    cancellation: Cancellation | None
    paid_cents: int
    refunded_cents: int
    lines: tuple[OrderLine, ...]

    @property
    def refundable_cents(self) -> int:
        """What was paid less what was already refunded."""
        return self.paid_cents - self.refunded_cents

    @property
    def refund_due_on(self) -> date | None:
        """The day of delivery, loss or cancellation, from which the refund window counts."""
        return self.cancellation.cancelled_on if self.cancellation else self.settled_on


def euros(cents: int) -> str:
    """An amount as people read it."""
    return f"{cents // 100}.{cents % 100:02d} EUR"
