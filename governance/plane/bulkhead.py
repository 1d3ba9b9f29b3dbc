"""A bulkhead: how many calls may be at a dependency at once, and a bounded queue for the next ones.

What holds: never more than `limit` hold a place, never more than `queue` wait, the first to come is the
first to be let in, and a place or a wait is given back whatever way its call ends. A call that runs inside
one that holds a place (a tool whose graph calls the same tool) needs none: it would wait for itself.

A burst may wait its patience. Where the line has not been empty for as long as that, there is no burst but
too much to do: waiting helps nobody then, and who comes new waits a tenth of it (controlled delay).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from governance.errors import Shed

HURRY = 0.1


class Bulkhead:
    """Places of one dependency, or of one agent at it, in this process."""

    def __init__(
        self, name: str, limit: int, queue: int, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.limit = limit
        self.queue = queue
        self.patience = patience
        self._clock = clock
        self._empty = clock()
        """When the line was empty last, so far as anybody looked."""
        self._lock = threading.Lock()
        self._inside: set[str] = set()
        self._waiting: deque[Place] = deque()

    @property
    def inside(self) -> int:
        return len(self._inside)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def holds(self, execution: str) -> bool:
        """Whether this call has a place."""
        return execution in self._inside

    def enter(self, place: Place) -> None:
        """Give a place, or a wait; raises `Shed` where neither is left."""
        with self._lock:
            if len(self._inside) < self.limit and not self._waiting:
                self._grant(place)
            elif len(self._waiting) < self.queue:
                now = self._clock()
                if not self._waiting:
                    self._empty = now
                place.patience = self.patience * (1 if now - self._empty < self.patience else HURRY)
                self._waiting.append(place)
            else:
                raise self.shed(f"{len(self._inside)} calls are at it and {len(self._waiting)} wait")

    def leave(self, place: Place) -> None:
        with self._lock:
            if place.execution in self._inside:
                self._inside.discard(place.execution)
            else:
                try:
                    self._waiting.remove(place)
                except ValueError:
                    return
            while self._waiting and len(self._inside) < self.limit:
                self._grant(self._waiting.popleft())

    def shed(self, why: str) -> Shed:
        return Shed(f"{self.name} has no place for another call: {why}; come back later", dependency=self.name)

    def _grant(self, place: Place) -> None:
        # One that has just lost its patience gets it too, and gives it back at once: it is being released.
        self._inside.add(place.execution)
        if place.granted.set_running_or_notify_cancel():
            place.granted.set_result(None)


class Place:
    """A place, or the wait for one, as a slot that a filter holds."""

    __slots__ = ("_bulkhead", "execution", "granted", "patience")

    def __init__(self, bulkhead: Bulkhead, execution: str) -> None:
        self._bulkhead = bulkhead
        self.execution = execution
        self.patience = bulkhead.patience
        self.granted: Future[None] = Future()

    def take(self) -> None:
        self._bulkhead.enter(self)

    def release(self) -> None:
        self._bulkhead.leave(self)

    def wait(self) -> None:
        """Block until the place is there; raises `Shed` when that takes too long."""
        try:
            self.granted.result(self.patience)
        except TimeoutError:
            raise self._impatient() from None

    async def await_(self) -> None:
        """`wait` for async code."""
        try:
            await asyncio.wait_for(asyncio.wrap_future(self.granted), self.patience)
        except TimeoutError:
            raise self._impatient() from None

    def _impatient(self) -> Shed:
        return self._bulkhead.shed(f"none came free within {self.patience:g} s")
