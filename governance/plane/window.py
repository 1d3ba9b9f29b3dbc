"""How calls ended within the last seconds, here and in other processes: a few numbers, whatever the traffic.

They are kept in slices of time, which have the same numbers in all processes of a machine: what others told
is forgotten as it grows old, whether they tell anything more or not.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

SLICES = 10
NAMED = 8
"""Tenants that others are told of, those with the most trouble: who is behind so many is not alone with it."""


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
        self._others: list[_Slice] = []

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

    def empty(self, now: float) -> bool:
        """Whether nothing was seen here."""
        self._forget(int(now / self._slice))
        return not self._slices

    def seen(self, now: float) -> Seen:
        """In all processes, as far as it is known here."""
        self._forget(int(now / self._slice))
        return Seen(*(sum(one.all[part] for one in self._known()) for part in range(3)))

    def worst(self, part: int) -> Seen:
        """Of the tenant that has most of what `Seen` has at this place."""
        return max(self._tenants(self._known()).values(), key=lambda seen: seen[part], default=Seen(0, 0, 0))

    def told(self) -> str:
        """What was seen here, for others to hear."""
        tenants = self._tenants(self._slices)
        named = {name for part in (1, 2) for name in sorted(tenants, key=lambda name: -tenants[name][part])[:NAMED]}
        named = {name for name in named if tenants[name].failed or tenants[name].slow}
        return json.dumps([
            [one.number, one.all, {name: counts for name, counts in (one.tenants or {}).items() if name in named}]
            for one in self._slices
        ])  # fmt: skip

    def hear(self, told: Iterable[str]) -> None:
        """What each of the others has seen, in place of what they told before."""
        found: dict[int, _Slice] = {}
        for number, counts, tenants in chain.from_iterable(map(json.loads, told)):
            one = found.setdefault(number, _Slice(number))
            one.all = _sum(one.all, counts)
            for tenant, its in tenants.items():
                one.tenants = one.tenants or {}
                one.tenants[tenant] = _sum(one.tenants.get(tenant, [0, 0, 0]), its)
        self._others = list(found.values())

    def clear(self) -> None:
        self._slices.clear()
        self._others.clear()

    def _known(self) -> Iterator[_Slice]:
        return chain(self._slices, self._others)

    def _tenants(self, slices: Iterable[_Slice]) -> dict[str, Seen]:
        found: dict[str, list[int]] = {}
        for one in slices:
            for tenant, counts in (one.tenants or {}).items():
                found[tenant] = _sum(found.get(tenant, [0, 0, 0]), counts)
        return {tenant: Seen(*counts) for tenant, counts in found.items()}

    def _forget(self, number: int) -> None:
        while self._slices and self._slices[0].number <= number - SLICES:
            self._slices.popleft()
        if self._others:  # what is ahead of the clock was told before the machine was started
            self._others = [one for one in self._others if number - SLICES < one.number <= number + 1]


def _sum(some: list[int], more: list[int]) -> list[int]:
    return [a + b for a, b in zip(some, more, strict=True)]


def _count(counts: list[int], failed: bool, slow: bool) -> None:
    counts[0] += 1
    counts[1] += failed
    counts[2] += slow
