"""The dependencies of a process: what all its sessions and graphs share of each.

Graphs that share a Sidecar share a dependency where their policies say the same of it; with other rules it
is another one. With a control file, the processes on it share them too: what guards a dependency here knows
of its counterparts there, by its name and its rules.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from governance import canonical
from governance.plane.breaker import Breaker, Clock
from governance.plane.bulkhead import Bulkhead
from governance.plane.circuits import Circuits
from governance.plane.control import Control
from governance.plane.retry_budget import RetryBudget
from governance.plane.shares import Shares
from governance.plane.windows import Windows
from governance.policy_failures import BulkheadPolicy, Rules

TENANTS_KEPT = 1024
"""Tenants of a dependency that something is known of; who has been idle longest is forgotten first."""


class Guards:
    """Makes what guards a dependency, and joins it with its counterparts in other processes."""

    def __init__(self, clock: Clock, control: Control | None) -> None:
        self.clock = clock
        self.shares = Shares(control, clock) if control else None
        self.circuits = Circuits(control) if control else None
        self.windows = Windows(control, clock) if control else None

    def breaker(self, name: str, rules: Rules, tenant: str = "") -> Breaker:
        assert rules.breaker is not None
        made = Breaker(f"{name} for {tenant}" if tenant else name, rules.breaker, self.clock, self.circuits)
        if self.circuits is not None:
            made.key = _key(name, rules.breaker, tenant)
            self.circuits.join(made)
        if self.windows is not None:
            self.windows.join(made)
        return made

    def places(self, name: str, limit: int, rules: BulkheadPolicy, whose: str = "") -> Bulkhead:
        shown = f"{name} for {whose.partition(':')[2]}" if whose else name
        made = Bulkhead(shown, limit, rules.queue, rules.patience, self.clock)
        if self.shares is not None:
            made.shared(self.shares.open(_key(name, rules, whose), limit, made))
        return made

    def budget(self, name: str, rules: Rules) -> RetryBudget:
        assert rules.retries is not None
        made = RetryBudget(rules.retries.ratio, rules.retries.burst)
        if self.shares is not None:
            made.shared(self.shares.open(_key(name, rules.retries), rules.retries.burst, made))
        return made

    def tend(self, db: sqlite3.Connection) -> None:
        """A chore of the control file's thread."""
        if self.shares is not None and self.windows is not None:
            self.shares.tend(db)
            self.windows.tend(db)

    def read(self, db: sqlite3.Connection) -> None:
        """With the snapshot: what others have changed."""
        if self.circuits is not None and self.shares is not None and self.windows is not None:
            self.circuits.read(db)
            self.shares.read(db)
            self.windows.read(db)


class Dependency:
    """One tool, model, endpoint or group of these, with what guards it."""

    def __init__(self, name: str, rules: Rules, guards: Guards) -> None:
        self.name = name
        self.rules = rules
        self.clock = guards.clock
        self.pace = 0.0
        """Seconds that its answers take lately; 0 while nobody knows."""
        self._guards = guards
        self._lock = threading.Lock()
        self._agents: dict[str, Bulkhead] = {}
        self._tenants: dict[str, Bulkhead] = {}
        self._breakers: dict[str, Breaker] = {}
        bulkhead = rules.bulkhead
        self.budget = guards.budget(name, rules) if rules.retries else None
        self.breaker = guards.breaker(name, rules) if rules.breaker else None
        self.bulkhead = guards.places(name, bulkhead.concurrent, bulkhead) if bulkhead else None

    def took(self, seconds: float) -> None:
        """Note how long an answer took; only an estimate, so nothing is locked."""
        self.pace += (seconds - self.pace) / 8 if self.pace else seconds

    def breaker_of(self, tenant: str) -> Breaker:
        """The breaker of one tenant, which nobody else's calls open."""
        return self._kept(self._breakers, tenant, partial(self._guards.breaker, self.name, self.rules, tenant))

    def places_of(self, agent: str, tenant: str) -> list[Bulkhead]:
        """All the places that a call needs: first of what only a few have, last of what all have."""
        rules, found = self.rules.bulkhead, list[Bulkhead]()
        if rules is None or self.bulkhead is None:
            return found
        if tenant and rules.per_tenant is not None:
            found.append(self._kept(self._tenants, tenant, partial(self._places, rules.per_tenant, f"tenant:{tenant}")))
        if rules.per_agent is not None:
            found.append(self._agents.get(agent) or self._agent(agent, rules.per_agent))
        return [*found, self.bulkhead]

    def _agent(self, agent: str, most: int) -> Bulkhead:
        with self._lock:
            if agent not in self._agents:
                self._agents[agent] = self._places(most, f"agent:{agent}")
            return self._agents[agent]

    def _places(self, limit: int, whose: str) -> Bulkhead:
        assert self.rules.bulkhead is not None
        return self._guards.places(self.name, limit, self.rules.bulkhead, whose)

    def _kept(self, known: dict[str, Kept], tenant: str, make: Callable[[], Kept]) -> Kept:
        with self._lock:
            found = known.pop(tenant, None) or make()
            while len(known) >= TENANTS_KEPT and (old := next((name for name in known if known[name].idle), None)):
                del known[old]
            known[tenant] = found  # the last one used is the last in order
            return found


class _Idle(Protocol):
    @property
    def idle(self) -> bool: ...


Kept = TypeVar("Kept", bound=_Idle)


def _key(name: str, rules: Any, whose: str = "") -> str:
    """What all processes call it: other rules make it another one."""
    return "\n".join((name, whose, canonical.digest([type(rules).__name__, rules])[:16]))


class Dependencies:
    """Finds a dependency by its name and rules; a child process after `fork` begins anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, control: Control | None = None) -> None:
        self.clock = clock
        self._control = control
        self.reset()
        if control is not None:
            control.chores.append(self._tend)
            control.readers.append(self._read)
        _LIVE.add(self)

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Rules], Dependency] = {}
        self._guards = Guards(self.clock, self._control)
        self.born = object()
        """Another one after a fork: whoever remembers a dependency of before must not use it."""

    def get(self, name: str, rules: Rules) -> Dependency:
        found = self._known.get((name, rules))
        if found is None:
            with self._lock:
                found = self._known.get((name, rules))
                if found is None:
                    found = self._known[name, rules] = Dependency(name, rules, self._guards)
        return found

    def all(self) -> list[Dependency]:
        return list(self._known.values())

    def close(self) -> None:
        """Give back what other processes may use."""
        if self._guards.shares is not None:
            self._guards.shares.close()

    def _tend(self, db: sqlite3.Connection) -> None:
        self._guards.tend(db)

    def _read(self, db: sqlite3.Connection) -> None:
        self._guards.read(db)


_LIVE: weakref.WeakSet[Dependencies] = weakref.WeakSet()


def _after_fork() -> None:
    # A lock that another thread held at the fork would never be released in the child.
    for dependencies in list(_LIVE):
        dependencies.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
