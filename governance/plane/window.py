"""How calls ended within the last seconds, in slices of time: a few numbers, whatever the traffic."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SLICES = 10


class Seen(NamedTuple):
    calls: int
    failed: int
    slow: int


class Window:
    """Counts over the last `seconds`, forgotten a tenth at a time; its owner holds the lock."""

    def __init__(self, seconds: float) -> None:
        self._slice = seconds / SLICES
        self._slices: deque[list[int]] = deque()

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        number = int(now / self._slice)
        if not self._slices or self._slices[-1][0] < number:
            self._slices.append([number, 0, 0, 0])
            self._forget(number)
        last = self._slices[-1]
        last[1] += 1
        last[2] += failed
        last[3] += slow

    def seen(self, now: float) -> Seen:
        self._forget(int(now / self._slice))
        return Seen(*(sum(one[part] for one in self._slices) for part in (1, 2, 3)))

    def clear(self) -> None:
        self._slices.clear()

    def _forget(self, number: int) -> None:
        while self._slices and self._slices[0][0] <= number - SLICES:
            self._slices.popleft()
