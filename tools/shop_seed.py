"""The committed seed of the example shop, turned into table rows; its days count back from its own today."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from tools.shop_policy import EXAMPLE

SEED_FILE = EXAMPLE / "seed.json"

Row = dict[str, Any]
Rows = dict[str, list[Row]]


def seed_rows(path: Path = SEED_FILE) -> Rows:
    """The rows of every table, parents first."""
    seed = json.loads(path.read_text(encoding="utf-8"))
    today = date.fromisoformat(seed["today"])
    orders = [_dated(order, today=today) for order in seed["orders"]]
    prices = {product["sku"]: product["price_cents"] for product in seed["products"]}
    lines = [line for order in orders for line in _lines(order, prices=prices)]
    return {
        "settings": [{"name": "today", "value": today.isoformat()}],
        "customers": seed["customers"],
        "products": seed["products"],
        "orders": [_order(order, lines=lines) for order in orders],
        "order_lines": lines,
        "shipments": [_shipment(order) for order in orders if order["shipped"]],
        "refunds": [_refund(order) for order in orders if order["refunded"]],
        "events": [event for order in orders for event in _events(order)],
    }


def _dated(order: Row, *, today: date) -> Row:
    days = ("ordered", "shipped", "settled", "cancelled", "refunded")
    return order | {day: (today - timedelta(days=order[day])).isoformat() if day in order else None for day in days}


def _lines(order: Row, *, prices: dict[str, int]) -> Iterator[Row]:
    for sku, quantity in order["lines"].items():
        yield {
            "order_id": order["id"],
            "sku": sku,
            "quantity": quantity,
            "unit_cents": prices[sku],
        }


def _order(order: Row, *, lines: list[Row]) -> Row:
    total = sum(line["quantity"] * line["unit_cents"] for line in lines if line["order_id"] == order["id"])
    return {
        "id": order["id"],
        "customer_id": order["customer"],
        "status": order["status"],
        "ordered_on": order["ordered"],
        "paid_cents": 0 if "placed" in (order["status"], order.get("status_before")) else total,
        "status_before": order.get("status_before"),
        "cancelled_on": order["cancelled"],
        "cancel_reason": order.get("cancel_reason"),
    }


def _shipment(order: Row) -> Row:
    return {"order_id": order["id"], "shipped_on": order["shipped"], "settled_on": order["settled"]}


def _refund(order: Row) -> Row:
    return {
        "key": f"desk:{order['id']}",
        "order_id": order["id"],
        "amount_cents": order["refunded_cents"],
        "reason": order["refund_reason"],
        "refunded_on": order["refunded"],
    }


def _events(order: Row) -> Iterator[Row]:
    happened = (
        ("ordered", order["ordered"], ""),
        ("shipped", order["shipped"], ""),
        (order["status"], order["settled"], ""),
        ("cancelled", order["cancelled"], order.get("cancel_reason", "")),
        ("refunded", order["refunded"], order.get("refund_reason", "")),
    )
    for kind, day, detail in happened:
        if day is not None:
            yield {"order_id": order["id"], "kind": kind, "happened_on": day, "detail": detail}
