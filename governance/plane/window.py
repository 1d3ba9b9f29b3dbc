"""How calls ended within the last seconds, in slices of time: a few numbers, whatever the traffic."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SLICES = 10


class Seen(NamedTuple):
    calls: int
    failed: int
    slow: int

    def without(self, other: Seen) -> Seen:
        return Seen(self.calls - other.calls, self.failed - other.failed, self.slow - other.slow)


class _Slice:
    __slots__ = ("all", "number", "tenants")

    def __init__(self, number: int) -> None:
        self.number = number
        self.all = [0, 0, 0]
        self.tenants: dict[str, list[int]] | None = None
        """Of those that have a name; they are forgotten with the slice."""


class Window:
    """Counts over the last `seconds`, forgotten a tenth at a time; its owner holds the lock."""

    def __init__(self, seconds: float) -> None:
        self._slice = seconds / SLICES
        self._slices: deque[_Slice] = deque()

    def add(self, now: float, *, failed: bool, slow: bool, tenant: str = "") -> None:
        number = int(now / self._slice)
        if not self._slices or self._slices[-1].number < number:
            self._slices.append(_Slice(number))
            self._forget(number)
        last = self._slices[-1]
        _count(last.all, failed, slow)
        if tenant:
            if last.tenants is None:
                last.tenants = {}
            _count(last.tenants.setdefault(tenant, [0, 0, 0]), failed, slow)

    def seen(self, now: float) -> Seen:
        self._forget(int(now / self._slice))
        return Seen(*(sum(one.all[part] for one in self._slices) for part in range(3)))

    def worst(self, part: int) -> Seen:
        """Of the tenant that has most of what `Seen` has at this place."""
        found: dict[str, list[int]] = {}
        for one in self._slices:
            for tenant, counts in (one.tenants or {}).items():
                found[tenant] = [a + b for a, b in zip(found.get(tenant, (0, 0, 0)), counts, strict=True)]
        return max((Seen(*counts) for counts in found.values()), key=lambda seen: seen[part], default=Seen(0, 0, 0))

    def clear(self) -> None:
        self._slices.clear()

    def _forget(self, number: int) -> None:
        while self._slices and self._slices[0].number <= number - SLICES:
            self._slices.popleft()


def _count(counts: list[int], failed: bool, slow: bool) -> None:
    counts[0] += 1
    counts[1] += failed
    counts[2] += slow
