"""Payments: authorises a charge; a fraud check can be switched on in the request's path."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time

from .service import Application, Body, ServiceSpec
from .telemetry import Telemetry

RELEASES = ("4.1.0",)
CONFIG: dict[str, str | int] = {"fraud_check": "off", "acquirer_ms": 5}
FRAUD_ROUNDS = 80_000


def build(spec: ServiceSpec, telemetry: Telemetry) -> Application:
    """Build payments; `fraud_check = sync` scores every charge, one at a time, before it is answered."""
    numbers = itertools.count(1)
    scoring = threading.Lock()
    checked = spec.config["fraud_check"] == "sync"
    acquirer = spec.number("acquirer_ms") / 1000

    def charge(body: Body) -> Body:
        if checked:
            with telemetry.span("fraud.check"), scoring:
                _score(body)
        time.sleep(acquirer)
        return {"payment": None if body.get("probe") else next(numbers), "cents": body["cents"]}

    return Application(path="/payments", handle=charge)


def _score(body: Body) -> bytes:
    """Really burn the time that a scoring model would."""
    return hashlib.pbkdf2_hmac("sha256", str(body["cents"]).encode(), b"fraud", FRAUD_ROUNDS)
