"""Counts, for each rule and what it is about, what came within its seconds; in this process.

A stop that was lifted begins anew: what was counted before does not trip the rule again.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable

from governance.plane.control import Control
from governance.policy_halts import HaltRule

SLICES = 60
MOST = 10_000
"""Sessions, tools, ... that are counted at once; whoever was heard of longest ago is forgotten first."""


class Tally:
    """A sum over the last seconds, forgotten a sixtieth at a time: a few numbers, whatever the traffic."""

    __slots__ = ("_slice", "_slices", "lifted")

    def __init__(self, seconds: float, lifted: float) -> None:
        self._slice = seconds / SLICES
        self._slices: deque[list[int]] = deque()
        self.lifted = lifted
        """The last lifting of a stop that it knows of."""

    def add(self, now: float, amount: int, _: str) -> int:
        """The sum with this amount in it."""
        number = int(now / self._slice)
        while self._slices and self._slices[0][0] <= number - SLICES:
            self._slices.popleft()
        if not self._slices or self._slices[-1][0] < number:
            self._slices.append([number, 0])
        self._slices[-1][1] += amount
        return sum(one[1] for one in self._slices)


class Spread:
    """How many different places were heard of within the last seconds."""

    __slots__ = ("_last", "_seconds", "lifted")

    def __init__(self, seconds: float, lifted: float) -> None:
        self._seconds, self.lifted = seconds, lifted
        self._last: dict[str, float] = {}

    def add(self, now: float, _: int, place: str) -> int:
        self._last = {one: at for one, at in self._last.items() if at > now - self._seconds}
        self._last[place] = now
        return len(self._last)


class HaltCounts:
    """What rules have counted; graphs that share a Sidecar and a rule count together."""

    def __init__(self, control: Control, clock: Callable[[], float] = time.monotonic) -> None:
        self.control = control
        self.clock = clock
        self.reset()
        _LIVE.add(self)

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[HaltRule, str], Tally | Spread] = OrderedDict()

    def count(self, rule: HaltRule, name: str, amount: int, place: str) -> int | None:
        """What it comes to, where that is too much; then it begins anew."""
        key, lifted = (rule, name), self.control.lifted(rule.of, name)
        with self._lock:
            found = self._known.get(key)
            if found is None or found.lifted != lifted:
                found = self._known[key] = (Spread if rule.when == "spread" else Tally)(rule.within, lifted)
            self._known.move_to_end(key)
            total = found.add(self.clock(), amount, place)
            if total > rule.over:
                del self._known[key]
            elif len(self._known) > MOST:
                self._known.popitem(last=False)
        return total if total > rule.over else None


_LIVE: weakref.WeakSet[HaltCounts] = weakref.WeakSet()


def _after_fork() -> None:
    # A lock that another thread held at the fork would never be released in the child.
    for counts in list(_LIVE):
        counts.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
