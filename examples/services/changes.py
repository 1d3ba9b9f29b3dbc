"""What was changed on a service, and the state that it is in: values that travel as JSON."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from .service import Scalar

Kind = Literal["deploy", "config", "restart"]


class PlatformError(ValueError):
    """A request to the platform that it cannot carry out; the message says what would be possible."""


@dataclass(frozen=True)
class Change:
    """One deploy, config change or restart, as the history of a service keeps it."""

    id: str
    at: float
    service: str
    kind: Kind
    key: str | None
    before: Scalar | None
    after: Scalar
    changed: bool = True


@dataclass(frozen=True)
class ServiceState:
    """What a service runs now, and how it came to that."""

    service: str
    url: str
    path: str
    version: str
    config: dict[str, Scalar]
    running: bool
    callees: tuple[str, ...]
    releases: tuple[str, ...]
    history: tuple[Change, ...]


@dataclass
class Deployment:
    """The desired version and config of one service with their history."""

    service: str
    version: str
    config: dict[str, Scalar]
    history: list[Change] = field(default_factory=list)

    def record(self, kind: Kind, *, at: float, key: str | None = None, before: Scalar | None, after: Scalar) -> Change:
        """Keep a change that has been made, dated to its beginning: what it does is felt from then on."""
        number = len(self.history) + 1
        change = Change(f"{kind}:{self.service}:{number}", round(at, 3), self.service, kind, key, before, after)
        self.history.append(change)
        return change

    def unchanged(self, kind: Kind, *, key: str | None = None, value: Scalar) -> Change:
        """Describe a change that was asked for and is in force already; it is not kept."""
        return Change(
            f"{kind}:{self.service}:none", round(time.time(), 3), self.service, kind, key, value, value, False
        )

    def versions(self) -> list[str]:
        """Return the versions that have run here, oldest first."""
        return list(dict.fromkeys(str(change.after) for change in self.history if change.kind == "deploy"))
