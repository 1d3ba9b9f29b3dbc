"""Orders: prices an order, reserves the stock, takes the payment.

Release 1.5.0 moved the coupons into a table and lost one that customers still hold: a real defect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .service import Application, Body, Downstream, ServiceSpec
from .telemetry import Telemetry

CONFIG = {"timeout_ms": 1500}
UNIT_CENTS = 1250

Price = Callable[[Body], int]


def price_1_4(body: Body) -> int:
    """Price an order in cents; a coupon takes ten percent off."""
    total = UNIT_CENTS * int(body.get("quantity", 1))
    return total * 90 // 100 if body.get("coupon") else total


COUPONS: dict[str, dict[str, Any]] = {"WELCOME": {"percent": 10}, "SUMMER": {"percent": 15}}


def price_1_5(body: Body) -> int:
    """Price an order in cents; the coupon's percentage comes from the table."""
    total = UNIT_CENTS * int(body.get("quantity", 1))
    coupon = body.get("coupon")
    if not coupon:
        return total
    discount: Any = COUPONS.get(coupon)
    return int(total * (100 - discount["percent"]) // 100)


PRICES: dict[str, Price] = {"1.4.0": price_1_4, "1.5.0": price_1_5}
RELEASES = tuple(PRICES)


def build(spec: ServiceSpec, telemetry: Telemetry) -> Application:
    """Build the release of orders that the spec names."""
    price = PRICES[spec.version]
    wait = spec.number("timeout_ms")
    inventory = Downstream("inventory", port=spec.peers["inventory"], timeout_ms=wait, telemetry=telemetry)
    payments = Downstream("payments", port=spec.peers["payments"], timeout_ms=wait, telemetry=telemetry)

    def place(body: Body) -> Body:
        with telemetry.span("price"):
            cents = price(body)
        probe = bool(body.get("probe"))
        item = {"sku": body["sku"], "quantity": body.get("quantity", 1), "probe": probe}
        reserved = inventory.post("/reservations", item)
        paid = payments.post("/payments", {"cents": cents, "probe": probe})
        return {"cents": cents, "reservation": reserved["reservation"], "payment": paid["payment"]}

    return Application(path="/orders", handle=place)
