"""The gateway: the shop's front door, which passes a checkout on to orders."""

from __future__ import annotations

from .service import Application, Body, Downstream, Refused, ServiceSpec
from .telemetry import Telemetry

RELEASES = ("3.2.0",)
CONFIG = {"timeout_ms": 2000}


def build(spec: ServiceSpec, telemetry: Telemetry) -> Application:
    """Build the gateway."""
    orders = Downstream("orders", port=spec.peers["orders"], timeout_ms=spec.number("timeout_ms"), telemetry=telemetry)

    def checkout(body: Body) -> Body:
        if "sku" not in body:
            raise Refused(400, "sku is missing")
        return orders.post("/orders", body)

    return Application(path="/checkout", handle=checkout)
