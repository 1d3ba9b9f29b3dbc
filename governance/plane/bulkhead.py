"""A bulkhead: how many calls may be at a dependency at once, and a bounded queue for the next ones.

What holds: never more than `limit` hold a place, in all processes together, never more than `queue` of a
process wait, and a place or a wait is given back whatever way its call ends. Of those who wait, the higher
priority is let in first, and among equals the first to come; where the queue is full, a newcomer takes the
wait of whoever came last of the lowest priority beneath its own. A call that runs inside one that holds a
place (a tool whose graph calls the same tool) needs none: it would wait for itself.

A burst may wait its patience. Where the line has not been empty for as long as that, there is no burst but
too much to do: waiting helps nobody then, and who comes new waits a tenth of it (controlled delay).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from governance.deadlines import Rest
from governance.errors import Shed
from governance.plane.shares import Share
from governance.priorities import LEVELS, NORMAL

HURRY = 0.1


class Bulkhead:
    """Places of one dependency, or of one agent or tenant at it."""

    def __init__(
        self, name: str, limit: int, queue: int, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.limit = limit
        self.queue = queue
        self.patience = patience
        self.share: Share | None = None
        """This process's part of the places; without one, all of them are."""
        self._clock = clock
        self._places = limit
        self._empty = clock()
        """When the line was empty last, so far as anybody looked."""
        self._most = self._demand = 0
        """How many needed a place at once lately."""
        self._lock = threading.Lock()
        self._inside: dict[str, int] = {}
        """Calls with their places: one that is tried again while its last try goes on has two."""
        self._taken = 0
        self._lines: tuple[deque[Place], ...] = tuple(deque() for _ in LEVELS)
        """Those who wait, by priority."""

    def shared(self, share: Share) -> None:
        """From now on there are only the places that this process has leased."""
        self.share, self._places = share, share.held

    @property
    def inside(self) -> int:
        return self._taken

    @property
    def waiting(self) -> int:
        return sum(map(len, self._lines))

    @property
    def idle(self) -> bool:
        return not self._inside and not self.waiting

    @property
    def short(self) -> bool:
        """Whether another call would wait, and more places may be had from other processes."""
        share = self.share
        return share is not None and (share.lapsed or self._needed() > self._places) and share.may_grow

    def lease(self) -> None:
        """Get another place from other processes, where there is one (blocking)."""
        if self.share is not None:
            self.share.lease(min(self.limit, self._needed()))

    def holds(self, execution: str) -> bool:
        """Whether this call has a place."""
        return execution in self._inside

    def enter(self, place: Place) -> None:
        """Give a place, or a wait; raises `Shed` where neither is left."""
        with self._lock:
            waiting = self.waiting
            if self._free() and not waiting:
                self._grant(place)
            elif waiting < self.queue or self._displaces(place):
                self._wait(place, waiting)
            else:
                raise self.shed(f"{self._taken} calls are at it and {waiting} wait")
            self._most = max(self._most, self._taken + self.waiting)

    def leave(self, place: Place) -> None:
        with self._lock:
            if place.given:
                place.given = False
                self._take_back(place.execution)
            else:
                try:
                    self._lines[place.priority].remove(place)
                except ValueError:
                    return
            self._let_in()

    def demand(self) -> int:
        """Twice of what was needed at once lately, as more calls may come before anybody looks again."""
        with self._lock:
            most, self._most = self._most, self._taken + self.waiting
            self._demand = max(2 * most, self._demand // 2)  # who calls now and then need not lease each time
            return self._demand

    def grow(self, held: int, *, alone: bool) -> None:
        with self._lock:
            self._places = held
            self._let_in()

    def shrink(self, held: int) -> int:
        with self._lock:
            self._places = held
            return max(held, self._taken)

    def shed(self, why: str) -> Shed:
        return Shed(f"{self.name} has no place for another call: {why}; come back later", dependency=self.name)

    def _needed(self) -> int:
        return self._taken + self.waiting + 1

    def _free(self) -> bool:
        return self._taken < self._places and (self.share is None or not self.share.lapsed)

    def _wait(self, place: Place, waiting: int) -> None:
        now = self._clock()
        if not waiting:
            self._empty = now
        place.granted = Future()
        place.patience = self.patience * (1 if now - self._empty < self.patience else HURRY)
        self._lines[place.priority].append(place)

    def _displaces(self, place: Place) -> bool:
        for line in self._lines[: place.priority]:
            if line:
                last = line.pop()
                if last.granted is not None and last.granted.set_running_or_notify_cancel():
                    last.granted.set_exception(self.shed("a call of a higher priority took its wait"))
                return True
        return False

    def _let_in(self) -> None:
        for line in reversed(self._lines):
            while line and self._free():
                self._grant(line.popleft())

    def _grant(self, place: Place) -> None:
        # One that has just lost its patience gets it too, and gives it back at once: it is being released.
        place.given = True
        self._taken += 1
        self._inside[place.execution] = self._inside.get(place.execution, 0) + 1
        if place.granted is not None and place.granted.set_running_or_notify_cancel():
            place.granted.set_result(None)

    def _take_back(self, execution: str) -> None:
        self._taken -= 1
        left = self._inside[execution] - 1
        if left:
            self._inside[execution] = left
        else:
            del self._inside[execution]


class Place:
    """A place, or the wait for one, as a slot that a filter holds."""

    __slots__ = ("_bulkhead", "_rests", "execution", "given", "granted", "patience", "priority")

    def __init__(self, bulkhead: Bulkhead, execution: str, priority: int = NORMAL) -> None:
        self._bulkhead = bulkhead
        self.execution = execution
        self.priority = priority
        self.patience = bulkhead.patience
        self.given = False
        self.granted: Future[None] | None = None
        """Of one that has to wait."""
        self._rests: Sequence[Rest] = ()

    def take(self) -> None:
        self._bulkhead.enter(self)

    def keep_for(self, rests: Sequence[Rest]) -> None:
        """Give the place back only when these have ended too: they are still at the dependency."""
        self._rests = rests

    def release(self, ended: Rest | None = None) -> None:
        going_on = next((rest for rest in self._rests if not rest.done()), None)
        if going_on is None:
            self._bulkhead.leave(self)
        else:
            going_on.add_done_callback(self.release)

    def wait(self) -> None:
        """Block until the place is there; raises `Shed` when that takes too long."""
        if self.granted is None:
            return
        try:
            self.granted.result(self.patience)
        except TimeoutError:
            raise self._impatient() from None

    async def await_(self) -> None:
        """`wait` for async code."""
        if self.granted is None:
            return
        try:
            await asyncio.wait_for(asyncio.wrap_future(self.granted), self.patience)
        except TimeoutError:
            raise self._impatient() from None

    def check(self) -> None:
        """Raises `Shed` where somebody of a higher priority took its wait."""
        if self.granted is not None:
            self.granted.result(0)

    def _impatient(self) -> Shed:
        return self._bulkhead.shed(f"none came free within {self.patience:g} s")
