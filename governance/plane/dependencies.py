"""The dependencies of a process: what all its sessions and graphs share of each.

Everything here is local to the process. Graphs that share a Sidecar share a dependency where their
policies say the same of it; with other rules it is another one.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable

from governance.plane.breaker import Breaker, Clock
from governance.plane.bulkhead import Bulkhead
from governance.plane.retry_budget import RetryBudget
from governance.policy_failures import BulkheadPolicy, Rules


class Dependency:
    """One tool, model, endpoint or group of these, with what guards it."""

    def __init__(self, name: str, rules: Rules, clock: Clock) -> None:
        self.name = name
        self.rules = rules
        self.clock = clock
        self.pace = 0.0
        """Seconds that its answers take lately; 0 while nobody knows."""
        self._agents: dict[str, Bulkhead] = {}
        retries, breaker, bulkhead = rules.retries, rules.breaker, rules.bulkhead
        self.budget = RetryBudget(retries.ratio, retries.burst) if retries else None
        self.breaker = Breaker(name, breaker, clock) if breaker else None
        self.bulkhead = None if bulkhead is None else self._places(name, bulkhead.concurrent, bulkhead)

    def took(self, seconds: float) -> None:
        """Note how long an answer took; only an estimate, so nothing is locked."""
        self.pace += (seconds - self.pace) / 8 if self.pace else seconds

    def share_of(self, agent: str) -> Bulkhead | None:
        """The places that one agent may have here; None where it may have them all."""
        rules = self.rules.bulkhead
        if rules is None or rules.per_agent is None:
            return None
        found = self._agents.get(agent)
        if found is None:
            made = self._places(f"{self.name} for {agent}", rules.per_agent, rules)
            found = self._agents.setdefault(agent, made)
        return found

    def _places(self, name: str, limit: int, rules: BulkheadPolicy) -> Bulkhead:
        return Bulkhead(name, limit, rules.queue, rules.patience, self.clock)


class Dependencies:
    """Finds a dependency by its name and rules; a child process after `fork` begins anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.reset()
        _LIVE.add(self)

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Rules], Dependency] = {}
        self.born = object()
        """Another one after a fork: whoever remembers a dependency of before must not use it."""

    def get(self, name: str, rules: Rules) -> Dependency:
        found = self._known.get((name, rules))
        if found is None:
            with self._lock:
                found = self._known.get((name, rules))
                if found is None:
                    found = self._known[name, rules] = Dependency(name, rules, self.clock)
        return found

    def all(self) -> list[Dependency]:
        return list(self._known.values())


_LIVE: weakref.WeakSet[Dependencies] = weakref.WeakSet()


def _after_fork() -> None:
    # A lock that another thread held at the fork would never be released in the child.
    for dependencies in list(_LIVE):
        dependencies.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
