"""A small real shop in one SQLite file, whose rules hold whatever is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from tools.shop_errors import NotAuthenticated, ReopenRefused, UnknownOrder
from tools.shop_policy import Policy, load_policy
from tools.shop_records import Cancellation, Customer, Event, Order, OrderLine, Refund
from tools.shop_rules import (
    check_amount,
    check_cancel,
    check_refund,
    check_reopen,
    check_repeat,
    stated_reason,
)
from tools.shop_schema import prepare, reading, writing

ORDERS = """
SELECT orders.*, customers.email AS customer_email, shipped_on, settled_on,
    (SELECT COALESCE(SUM(amount_cents), 0) FROM refunds WHERE order_id = orders.id) AS refunded_cents
FROM orders JOIN customers ON customers.id = customer_id LEFT JOIN shipments ON order_id = orders.id
"""
LINES = """
SELECT sku, name, quantity, unit_cents FROM order_lines JOIN products USING (sku)
WHERE order_id = ? ORDER BY sku
"""
CANCEL = """
UPDATE orders SET status = 'cancelled', status_before = ?, cancelled_on = ?, cancel_reason = ?
WHERE id = ?
"""
REOPEN = """
UPDATE orders SET status = status_before, status_before = NULL, cancelled_on = NULL, cancel_reason = NULL
WHERE id = ?
"""
RESTOCK = """
UPDATE products SET stock = stock + ? * order_lines.quantity
FROM order_lines WHERE order_lines.sku = products.sku AND order_id = ?
"""
SOLD_OUT = """
SELECT name FROM order_lines JOIN products USING (sku) WHERE order_id = ? AND stock < quantity ORDER BY sku
"""
REFUND = "INSERT INTO refunds (key, order_id, amount_cents, reason, refunded_on) VALUES (?, ?, ?, ?, ?)"
EVENT = "INSERT INTO events (order_id, kind, happened_on, detail) VALUES (?, ?, ?, ?)"


def create_shop(path: str | Path) -> Shop:
    """Make the example shop at `path`; where one stands already it is opened as it is, never reset."""
    shop = Shop(Path(path))
    prepare(shop.path)
    return shop


def refund_key(order_id: int) -> str:
    """The business identity of an order's refund."""
    return f"refund:{order_id}"


@dataclass(frozen=True)
class Shop:
    """A shop file and its policy; every call opens the file, does one thing whole and closes it.

    Threads, processes and forks may share one: it holds no connection.
    """

    path: Path
    policy: Policy = field(default_factory=load_policy, kw_only=True)

    def today(self) -> date:
        """The day the shop believes in; it is stored, so that results repeat."""
        with reading(self.path) as database:
            return _today(database)

    def find_customer(self, email: str, *, postcode: str) -> Customer:
        """The customer whom email and postcode identify together; raises `NotAuthenticated` otherwise."""
        with reading(self.path) as database:
            rows = list(database.query("SELECT * FROM customers WHERE email = ?", [email_form(email)]))
        if not rows or _postcode_form(rows[0]["postcode"]) != _postcode_form(postcode):
            raise NotAuthenticated(
                "a customer is known by email and postcode together",
                came="a pair that does not match",
                possible="ask for both again",
            )
        return Customer(**rows[0])

    def list_orders(self, email: str) -> tuple[Order, ...]:
        """All orders of a customer, the newest first."""
        with reading(self.path) as database:
            rows = database.query(
                f"{ORDERS} WHERE email = ? ORDER BY ordered_on DESC, orders.id DESC", [email_form(email)]
            )
            return tuple(_order(database, row) for row in list(rows))

    def get_order(self, order_id: int) -> Order:
        """One order as it stands; raises `UnknownOrder` where there is none."""
        with reading(self.path) as database:
            return _find_order(database, order_id)

    def get_refund(self, key: str) -> Refund | None:
        """The refund that was paid under a business key, if any."""
        with reading(self.path) as database:
            return _find_refund(database, key)

    def history(self, order_id: int) -> tuple[Event, ...]:
        """What happened to an order, the oldest first."""
        sql = "SELECT kind, happened_on, detail FROM events WHERE order_id = ? ORDER BY id"
        with reading(self.path) as database:
            return tuple(
                Event(**row | {"happened_on": date.fromisoformat(row["happened_on"])})
                for row in database.query(sql, [order_id])
            )

    def cancel_order(self, order_id: int, *, reason: str) -> Cancellation:
        """Cancel an order that is not shipped; a repeat returns the first cancellation."""
        reason = stated_reason(reason)
        with writing(self.path) as database:
            order = _find_order(database, order_id)
            if order.cancellation is not None:
                return order.cancellation
            check_cancel(order)
            today = _today(database)
            database.conn.execute(CANCEL, (order.status, today.isoformat(), reason, order_id))
            database.conn.execute(RESTOCK, (1, order_id))
            _note(database, order_id, kind="cancelled", today=today, detail=reason)
        return Cancellation(order_id=order_id, status_before=order.status, cancelled_on=today, reason=reason)

    def reopen_order(self, order_id: int) -> Order:
        """Take a cancellation back; refused once money went back or the goods are sold to others."""
        with writing(self.path) as database:
            check_reopen(_find_order(database, order_id))
            _check_stock(database, order_id)
            database.conn.execute(RESTOCK, (-1, order_id))
            database.conn.execute(REOPEN, (order_id,))
            _note(database, order_id, kind="reopened", today=_today(database), detail="")
            return _find_order(database, order_id)

    def refund_order(self, order_id: int, *, amount_cents: int, reason: str, key: str | None = None) -> Refund:
        """Pay back once per business key (one per order unless given); a repeat returns the first refund."""
        reason, key = stated_reason(reason), key or refund_key(order_id)
        check_amount(amount_cents)
        with writing(self.path) as database:
            first = _find_refund(database, key)
            if first is not None:
                check_repeat(first, order_id=order_id, amount_cents=amount_cents)
                return first
            today = _today(database)
            order = _find_order(database, order_id)
            check_refund(order, amount_cents=amount_cents, today=today, policy=self.policy)
            database.conn.execute(REFUND, (key, order_id, amount_cents, reason, today.isoformat()))
            _note(database, order_id, kind="refunded", today=today, detail=f"{amount_cents} cents: {reason}")
        return Refund(key=key, order_id=order_id, amount_cents=amount_cents, reason=reason, refunded_on=today)


def email_form(email: str) -> str:
    """The one spelling under which an email address is stored and compared."""
    return email.strip().casefold()


def unknown_order(order_id: int) -> UnknownOrder:
    """The same answer for an order that does not exist and for one of somebody else."""
    return UnknownOrder("no such order", came=str(order_id), possible="one of the customer's own orders")


def _postcode_form(postcode: str) -> str:
    return "".join(postcode.split()).casefold()


def _today(database: Database) -> date:
    found = database.conn.execute("SELECT value FROM settings WHERE name = 'today'").fetchone()
    return date.fromisoformat(found[0])


def _find_order(database: Database, order_id: int) -> Order:
    rows = list(database.query(f"{ORDERS} WHERE orders.id = ?", [order_id]))
    if not rows:
        raise unknown_order(order_id)
    return _order(database, rows[0])


def _find_refund(database: Database, key: str) -> Refund | None:
    for row in database.query("SELECT * FROM refunds WHERE key = ?", [key]):
        return Refund(**row | {"refunded_on": date.fromisoformat(row["refunded_on"])})
    return None


def _check_stock(database: Database, order_id: int) -> None:
    missing = [row["name"] for row in database.query(SOLD_OUT, [order_id])]
    if missing:
        raise ReopenRefused(
            "a cancelled order can be reopened only while its goods are in stock",
            came=f"order {order_id} needs {', '.join(missing)}",
            possible="a new order when they are back",
        )


def _note(database: Database, order_id: int, *, kind: str, today: date, detail: str) -> None:
    database.conn.execute(EVENT, (order_id, kind, today.isoformat(), detail))


def _order(database: Database, row: dict[str, Any]) -> Order:
    return Order(
        id=row["id"],
        customer_email=row["customer_email"],
        status=row["status"],
        ordered_on=date.fromisoformat(row["ordered_on"]),
        shipped_on=_day(row["shipped_on"]),
        settled_on=_day(row["settled_on"]),
        cancellation=_cancellation(row),
        paid_cents=row["paid_cents"],
        refunded_cents=row["refunded_cents"],
        lines=tuple(OrderLine(**line) for line in database.query(LINES, [row["id"]])),
    )


def _cancellation(row: dict[str, Any]) -> Cancellation | None:
    if row["cancelled_on"] is None:
        return None
    return Cancellation(
        order_id=row["id"],
        status_before=row["status_before"],
        cancelled_on=date.fromisoformat(row["cancelled_on"]),
        reason=row["cancel_reason"],
    )


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
