"""A circuit breaker for one dependency: closed, open for a while, half-open for a few probes.

What holds, for threads, asyncio tasks and the processes of one control file alike: while it is half-open,
never more than `probes` calls are admitted, and what was admitted in an earlier state says nothing about
this one. A probe that ends without a word on the dependency (cancelled, the caller's own mistake) gives
its leave to the next caller.

Every process judges by what it sees itself and by what the others told of the same seconds. Where one opens,
it is open there at once, and elsewhere at the next call. Probes are counted in the control file, and only they:
a closed circuit asks nobody, nor does an open one until it is time. Where the file cannot be read, each process
goes by what it knows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from governance.errors import CircuitOpen, LedgerError
from governance.plane.circuit import OVERDUE, Circuit, due, probed, tried, turned
from governance.plane.window import Window
from governance.policy_failures import BreakerPolicy

Clock = Callable[[], float]
Change = Callable[[Circuit], Circuit]


class Shared(Protocol):
    """Where the processes of an installation keep the circuits that are not closed."""

    def change(self, breaker: Breaker, change: Change) -> None:
        """Make a change for all (blocking); raises `LedgerError` where that cannot be done."""

    def change_soon(self, breaker: Breaker, change: Change) -> None: ...


class Breaker:
    """Opens by the rates of failures and slow answers, and closes when all probes succeed."""

    def __init__(self, name: str, policy: BreakerPolicy, clock: Clock, shared: Shared | None = None) -> None:
        self.name = name
        self.policy = policy
        self.key = name
        """What it is known by in the control file."""
        self._clock = clock
        self._shared = shared
        self._lock = threading.Lock()
        self._window = Window(policy.window)
        self._news: list[Circuit] = []
        self._untold = False
        """Whether others do not know yet that it has opened here."""
        self._circuit = Circuit("closed", "it has not failed yet", clock())

    @property
    def circuit(self) -> Circuit:
        return self._circuit

    @property
    def idle(self) -> bool:
        """Whether nothing is lost with it."""
        with self._lock:
            return self._circuit.state == "closed" and self._window.empty(self._clock())

    def news(self) -> list[Circuit]:
        """What has changed here since somebody asked; each change is told once."""
        if not self._news:
            return []
        with self._lock:
            news, self._news = self._news, []
        return news

    def told(self) -> str:
        """What others have to know to judge by; empty where nothing was seen here, or nobody has any trouble."""
        with self._lock:
            now = self._clock()
            if self._window.empty(now):
                return ""
            seen = self._window.seen(now)
            return self._window.told() if seen.failed or seen.slow else ""

    def hear(self, told: Iterable[str]) -> None:
        """What each of the others has seen lately."""
        with self._lock:
            self._window.hear(told)

    @property
    def must_ask(self) -> bool:
        """Whether leave depends on what other processes do, so that `ask` has to be called instead of `admit`."""
        circuit = self._circuit
        if self._shared is None or circuit.state == "closed":
            return False
        return due(circuit, self.policy, self._clock())

    def refuse(self) -> None:
        """Raise `CircuitOpen` where there is no leave to be had, whoever is asked."""
        circuit, now = self._circuit, self._clock()
        if circuit.state != "closed" and not due(circuit, self.policy, now):
            raise self._refused(circuit, now)

    def admit(self) -> Circuit:
        """Leave for one call, by what this process knows; raises `CircuitOpen`."""
        circuit = self._circuit
        if circuit.state == "closed":
            return circuit
        with self._lock:
            now = self._clock()
            granted, circuit = tried(self._circuit, self.policy, now)
            self._set(circuit)
        if not granted:
            raise self._refused(circuit, now)
        return circuit

    def ask(self) -> Circuit:
        """Leave for one call, by what all processes know (blocking); raises `CircuitOpen`."""
        assert self._shared is not None
        found: list[tuple[bool, Circuit]] = []

        def change(circuit: Circuit) -> Circuit:
            found[:] = [tried(circuit, self.policy, self._clock())]
            return found[0][1]

        try:
            self._shared.change(self, change)
        except LedgerError:
            return self.admit()
        granted, circuit = found[0]
        if not granted:
            raise self._refused(circuit, self._clock())
        return circuit

    def check(self) -> None:
        """For those who were admitted and then waited: raises `CircuitOpen` where it has opened meanwhile."""
        circuit = self._circuit
        if circuit.state == "open":
            raise self._refused(circuit, self._clock())

    def settle(self, circuit: Circuit, failed: bool | None, seconds: float, why: str, tenant: str = "") -> None:
        """How a call of this circuit ended; None says nothing. Blocks where the circuit is half-open and shared."""
        slow = self.policy.slow is not None and seconds >= self.policy.slow
        if circuit.state == "half-open":
            self._settle_probe(circuit, failed, slow, why)
            return
        with self._lock:
            if failed is None or circuit.turn != self._circuit.turn:
                return
            now = self._clock()
            self._window.add(now, failed=failed, slow=slow, tenant=tenant)
            reason = self._judged(now, why) if failed or slow else None
            if reason is not None:
                self._set(turned("open", reason, self.policy, now))
                self._untold = self._shared is not None
        if reason is not None and self._shared is not None:
            self._shared.change_soon(self, lambda known: known)

    def give_back(self, circuit: Circuit) -> None:
        """A call ended without a word, wherever that was found out: does not block."""
        if circuit.state != "half-open":
            return
        change = partial(self._probed, circuit, None, False, "")
        if self._shared is None:
            self._change_here(change)
        else:
            self._shared.change_soon(self, change)

    def learn(self, known: Circuit | None) -> None:
        """What the control file says; None where it has nothing, which is: closed."""
        with self._lock:
            known = self._credible(known)
            if known is not None:
                self._untold = False
                self._set(known, told=False)
            elif not self._untold and self._circuit.state != "closed":
                self._set(turned("closed", "it works again", self.policy, self._clock()), told=False)

    def agreed(self, known: Circuit | None, change: Change) -> Circuit:
        """Make a change to what the control file has, or to what happened here and it does not know yet."""
        with self._lock:
            before = self._credible(known)
            if before is not None:
                self._untold = False
            elif self._untold or self._circuit.state == "closed":
                before = self._circuit
            else:
                before = turned("closed", "it works again", self.policy, self._clock())
            after = change(before)
            self._set(after, told=after.turn != before.turn)
            return after

    def _credible(self, known: Circuit | None) -> Circuit | None:
        """Not what reaches so far ahead that it was written before this machine was started: clocks begin anew then."""
        if known is not None and known.until - self._clock() > 2 * OVERDUE * self.policy.open:
            return None
        return known

    def _settle_probe(self, circuit: Circuit, failed: bool | None, slow: bool, why: str) -> None:
        change = partial(self._probed, circuit, failed, slow, why)
        if self._shared is not None:
            try:
                self._shared.change(self, change)
                return
            except LedgerError:
                pass
        self._change_here(change)

    def _change_here(self, change: Change) -> None:
        with self._lock:
            self._set(change(self._circuit))

    def _probed(self, of: Circuit, failed: bool | None, slow: bool, why: str, circuit: Circuit) -> Circuit:
        if of.turn != circuit.turn:
            return circuit
        return probed(circuit, self.policy, self._clock(), failed, slow, why)

    def _judged(self, now: float, why: str) -> str | None:
        """Why it is to be opened. What one tenant alone has trouble with is no trouble of the dependency."""
        rules, seen, window = self.policy, self._window.seen(now), f"in {self.policy.window:g} s"
        others = seen.without(self._window.worst(1))
        if others.calls >= rules.minimum and others.failed >= rules.failure_rate * others.calls:
            return f"{seen.failed} of {seen.calls} calls {window} failed, the last one: {why}"
        others = seen.without(self._window.worst(2))
        if rules.slow is not None and others.calls >= rules.minimum and others.slow >= rules.slow_rate * others.calls:
            return f"{seen.slow} of {seen.calls} calls {window} took {rules.slow:g} s or longer"
        return None

    def _set(self, circuit: Circuit, *, told: bool = True) -> None:
        if circuit.turn != self._circuit.turn:
            self._window.clear()
            if told:
                self._news.append(circuit)
        self._circuit = circuit

    def _refused(self, circuit: Circuit, now: float) -> CircuitOpen:
        wait = max(0.0, circuit.until - now)
        when = f"it is tried again in {wait:.1f} s" if circuit.state == "open" else "it is being tried again just now"
        return CircuitOpen(
            f"{self.name} is left alone, because {circuit.reason}; {when}",
            dependency=self.name, state=circuit.state, wait_ms=round(wait * 1000),
        )  # fmt: skip
