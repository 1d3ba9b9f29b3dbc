"""Which services there are, whom they call, and what they are first deployed with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

from . import gateway, inventory, orders, payments
from .service import Application, Scalar, ServiceSpec
from .telemetry import Telemetry


@dataclass(frozen=True)
class Offering:
    """One service as it can be deployed."""

    path: str
    callees: tuple[str, ...]
    releases: tuple[str, ...]
    config: Mapping[str, Scalar]
    build: Callable[[ServiceSpec, Telemetry], Application]


def _offering(module: ModuleType, path: str, *callees: str) -> Offering:
    return Offering(path, callees, module.RELEASES, module.CONFIG, module.build)


# In the order of start: a service comes after those that it calls.
CATALOGUE: Mapping[str, Offering] = {
    "inventory": _offering(inventory, "/reservations"),
    "payments": _offering(payments, "/payments"),
    "orders": _offering(orders, "/orders", "inventory", "payments"),
    "gateway": _offering(gateway, "/checkout", "orders"),
}

ALLOWED: Mapping[str, tuple[Scalar, ...] | range] = {
    "timeout_ms": range(50, 30_001),
    "pool_size": range(1, 65),
    "pool_timeout_ms": range(10, 10_001),
    "storage_ms": range(1001),
    "fraud_check": ("off", "sync"),
    "acquirer_ms": range(1001),
}
