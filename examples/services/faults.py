"""The ways in which the services can be broken, each with the change that heals it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from .changes import Change
from .service import Scalar


class Changeable(Protocol):
    """What a fault needs of a platform."""

    def deploy(self, service: str, version: str) -> Change: ...
    def set_config(self, service: str, key: str, value: Scalar) -> Change: ...


@dataclass(frozen=True)
class Fault:
    """One bad change, a release (no key) or a setting; `symptom` is what a customer would report."""

    symptom: str
    service: str
    value: Scalar
    key: str | None = None

    def apply(self, platform: Changeable) -> Change:
        if self.key is None:
            return platform.deploy(self.service, str(self.value))
        return platform.set_config(self.service, self.key, self.value)


FAULTS: Mapping[str, Fault] = {
    "bad_deploy": Fault("Some checkouts fail", "orders", "1.5.0"),
    "pool_exhausted": Fault("Many checkouts fail after a wait", "inventory", 1, "pool_size"),
    "slow_payments": Fault("Checkouts have become slow", "payments", "sync", "fraud_check"),
}
