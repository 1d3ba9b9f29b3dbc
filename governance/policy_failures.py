"""What operators set about dependencies that fail: attempts, circuit breakers, places at once, time.

[retries]
attempts = 3
ratio = 0.1

[breaker]
failure_rate = 0.5
window = 10

[bulkhead]
concurrent = 20

[timeout]
seconds = 30

[dependency."payments"]
members = ["refund", "charge"]
breaker = { failure_rate = 0.2 }
cached = 600
refusal = "The bank cannot be reached."

A table that is absent is off. What a dependency sets of its own goes before the general table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from governance.errors import PolicyError
from governance.fallbacks import Cached, Plain


@dataclass(frozen=True, kw_only=True)
class RetriesPolicy:
    """How often a request may ask for the same again, and how much of that a dependency bears in all."""

    attempts: int = 3
    """Tries of one request, the first included, over all layers that retry."""
    ratio: float = 0.1
    """Retries for each first try; with `burst`, all the retries there can be."""
    burst: int = 10
    """Retries that may be saved up."""
    wait: float = 0.5
    """Seconds before the first retry, of which a random part is taken; twice as many before each further one."""
    longest_wait: float = 30.0
    """Seconds at most; a dependency that asks for more (`Retry-After`) is not tried again."""
    on: tuple[str, ...] = ()
    """Classes of errors that pass by themselves, besides those that say so: `Busy` or `shop.errors.Busy`."""

    def __post_init__(self) -> None:
        _fraction("ratio", self.ratio)


@dataclass(frozen=True, kw_only=True)
class BreakerPolicy:
    """When a dependency is left alone, and how it is found out that it works again."""

    failure_rate: float = 0.5
    slow_rate: float = 0.9
    slow: float | None = None
    """Seconds from which an answer counts as slow; without it, none does."""
    window: float = 10.0
    """Seconds that rates are taken over."""
    minimum: int = 20
    """Calls in the window without which no rate says anything."""
    open: float = 5.0
    """Seconds until it is tried again."""
    probes: int = 3
    """Calls that try it then; all of them must succeed."""

    def __post_init__(self) -> None:
        _fraction("failure_rate", self.failure_rate)
        _fraction("slow_rate", self.slow_rate)


@dataclass(frozen=True, kw_only=True)
class BulkheadPolicy:
    """How many calls a dependency has at once, and what becomes of those that come on top."""

    concurrent: int = 50
    queue: int = 50
    """Calls that may wait for a place; the next one is shed."""
    patience: float = 1.0
    """Seconds they wait at most; a tenth of that while the line has not been empty for as long."""
    per_agent: int | None = None
    """Places that one agent (a contract's role, else its place) may have of them."""
    per_tenant: int | None = None
    """Places that one tenant may have of them."""


@dataclass(frozen=True, kw_only=True)
class TimeoutPolicy:
    """How long one try may take; the time that the node has left bounds it in any case."""

    seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class DependencyPolicy:
    """What holds for one dependency: a tool, a model, a model's endpoint, or several of these together."""

    name: str
    members: tuple[str, ...] = ()
    """Tools and models that stand or fall together; without them the name itself is one."""
    retries: RetriesPolicy | None = None
    breaker: BreakerPolicy | None = None
    bulkhead: BulkheadPolicy | None = None
    timeout: TimeoutPolicy | None = None
    cached: float | None = None
    """Seconds for which its last good answer, in the same session, may stand in for it."""
    refusal: str | None = None
    """A text that is the answer where it, and all that stands in for it, cannot answer."""

    @cached_property
    def stages(self) -> tuple[Cached | Plain, ...]:
        """What stands in for it, in this order."""
        cached = () if self.cached is None else (Cached(self.cached),)
        return (*cached, *(() if self.refusal is None else (Plain(self.refusal),)))

    @property
    def known_as(self) -> tuple[str, ...]:
        return self.members or (self.name,)


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for a dependency after all; None is off."""

    retries: RetriesPolicy | None = None
    breaker: BreakerPolicy | None = None
    bulkhead: BulkheadPolicy | None = None
    timeout: TimeoutPolicy | None = None

    def met(self, own: DependencyPolicy) -> Rules:
        """With what a dependency sets of its own."""
        return Rules(
            own.retries or self.retries,
            own.breaker or self.breaker,
            own.bulkhead or self.bulkhead,
            own.timeout or self.timeout,
        )

    def __bool__(self) -> bool:
        return bool(self.retries or self.breaker or self.bulkhead or self.timeout)


def _fraction(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise PolicyError(f"{name} must be more than 0 and at most 1, not {value!r}")
