"""A circuit breaker for one dependency, of this process: closed, open for a while, half-open for a few probes.

What holds, for threads and asyncio tasks alike: while it is half-open, never more than `probes` calls are
admitted, and what was admitted in an earlier state says nothing about this one. A probe that ends without
a word on the dependency (cancelled, the caller's own mistake) gives its leave to the next caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from governance.errors import CircuitOpen
from governance.plane.window import Window
from governance.policy_failures import BreakerPolicy

Clock = Callable[[], float]
OVERDUE = 10
"""A probe that has not come back after so many times the open interval counts as failed."""


@dataclass(frozen=True, slots=True, eq=False)
class Circuit:
    """What a breaker is and why; a new object after every change, so that `is` tells one from the next."""

    state: Literal["closed", "open", "half-open"]
    reason: str
    since: float
    until: float = 0.0
    """When an open one is tried again; when a half-open one gives its probes up."""


class Breaker:
    """Opens by the rates of failures and slow answers, and closes when all probes succeed."""

    def __init__(self, name: str, policy: BreakerPolicy, clock: Clock) -> None:
        self.name = name
        self.policy = policy
        self._clock = clock
        self._lock = threading.Lock()
        self._window = Window(policy.window)
        self._out = 0
        self._good = 0
        self._news: list[Circuit] = []
        self._circuit = Circuit("closed", "it has not failed yet", clock())

    @property
    def circuit(self) -> Circuit:
        return self._circuit

    def news(self) -> list[Circuit]:
        """What has changed since somebody asked; each change is told once."""
        if not self._news:
            return []
        with self._lock:
            news, self._news = self._news, []
        return news

    def admit(self) -> Circuit:
        """Leave for one call, and the circuit it is a part of; raises `CircuitOpen`."""
        circuit = self._circuit
        if circuit.state == "closed":
            return circuit
        with self._lock:
            circuit, now = self._circuit, self._clock()
            if circuit.state == "open" and now >= circuit.until:
                circuit = self._turn("half-open", f"{self.policy.open:g} s are over", now)
            if circuit.state == "half-open" and self._out + self._good < self.policy.probes:
                self._out += 1
            elif circuit.state != "closed":
                raise self._refused(circuit, now)
            return circuit

    def check(self) -> None:
        """For those who were admitted and then waited: raises `CircuitOpen` where it has opened meanwhile."""
        circuit = self._circuit
        if circuit.state == "open":
            raise self._refused(circuit, self._clock())

    def settle(self, circuit: Circuit, failed: bool | None, seconds: float, why: str) -> None:
        """How a call of this circuit ended; None says nothing about the dependency."""
        slow = self.policy.slow is not None and seconds >= self.policy.slow
        with self._lock:
            if circuit is not self._circuit:
                return
            now = self._clock()
            if circuit.state == "half-open":
                self._out -= 1
                if failed is not None:
                    self._probed(failed, slow, now, why)
            elif failed is not None:
                self._window.add(now, failed=failed, slow=slow)
                if failed or slow:
                    self._judge(now, why)

    def _probed(self, failed: bool, slow: bool, now: float, why: str) -> None:
        if failed or slow:
            self._turn("open", f"a probe failed ({why})" if failed else "a probe was slow", now)
            return
        self._good += 1
        if self._good >= self.policy.probes:
            self._turn("closed", f"{self._good} of {self._good} probes succeeded", now)

    def _judge(self, now: float, why: str) -> None:
        rules, seen = self.policy, self._window.seen(now)
        if seen.calls < rules.minimum:
            return
        span = f"of {seen.calls} calls in {rules.window:g} s"
        if seen.failed >= rules.failure_rate * seen.calls:
            self._turn("open", f"{seen.failed} {span} failed, the last one: {why}", now)
        elif rules.slow is not None and seen.slow >= rules.slow_rate * seen.calls:
            self._turn("open", f"{seen.slow} {span} took {rules.slow:g} s or longer", now)

    def _turn(self, state: Literal["closed", "open", "half-open"], reason: str, now: float) -> Circuit:
        lasts = {"closed": 0.0, "open": self.policy.open, "half-open": OVERDUE * self.policy.open}[state]
        self._window.clear()
        self._out = self._good = 0
        self._circuit = Circuit(state, reason, now, now + lasts)
        self._news.append(self._circuit)
        return self._circuit

    def _refused(self, circuit: Circuit, now: float) -> CircuitOpen:
        if circuit.state == "half-open" and now >= circuit.until:
            circuit = self._turn("open", "a probe did not come back", now)
        wait = max(0.0, circuit.until - now)
        when = f"it is tried again in {wait:.1f} s" if circuit.state == "open" else "it is being tried again just now"
        return CircuitOpen(
            f"{self.name} is left alone, because {circuit.reason}; {when}",
            dependency=self.name, state=circuit.state, wait_ms=round(wait * 1000),
        )  # fmt: skip


class Permit:
    """Leave for one call, as a slot that a filter holds: whatever way the call ends, a probe is given back."""

    __slots__ = ("_breaker", "_circuit")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._circuit: Circuit | None = None

    def take(self) -> None:
        self._circuit = self._breaker.admit()

    def release(self) -> None:
        self.settle(None, 0.0)

    def settle(self, failed: bool | None, seconds: float, why: str = "") -> None:
        """Say how the call ended; the first word counts."""
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            self._breaker.settle(circuit, failed, seconds, why)
