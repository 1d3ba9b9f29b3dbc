"""What one process has yet to write: between those who record, and the one thread that writes it down.

Attributes that every call asks for are plain ones. Nothing here touches the disk.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sized
from concurrent.futures import Future

from governance.errors import LedgerError
from governance.plane import waiting
from governance.plane.absence import Absence
from governance.plane.disk import LOW
from governance.plane.ledger_rows import Event
from governance.plane.ledger_store import AWAY
from governance.plane.waiting import Room

Queued = Event | Future[None]
PASSING = (LOW, AWAY)
"""Codes of troubles that end by themselves."""
ENDLESS = range(sys.maxsize)
"""Stands in for the queue while a server is away: longer than any limit, so every node looks closer."""


class Queue(ABC):
    """Events and those who wait for them, in the order they came; the thread starts with the first, and after a `fork`.

    `broken` is why nothing can be put on record; some troubles (`PASSING`) end by themselves.
    """

    def __init__(self, name: str, patience: float) -> None:
        self.name = name
        self.patience = patience
        """Seconds a caller waits for a slow disk, or for a server that is away, before it is refused."""
        self.broken: LedgerError | None = None
        self._reset()
        _LIVE.add(self)

    def _reset(self) -> None:
        self.queue: deque[Queued] = deque()
        self.waiting: Sized = self.queue
        """What has yet to be written; a plain attribute, as every call asks how much that is."""
        self.room = Room()
        self.absence: Absence | None = None
        self.awake = False
        self.urgent = threading.Event()
        self.hurry = False
        self.stop = False
        self.thread: threading.Thread | None = None
        self.ready = False
        """Whether this process has once written to the ledger; a plain attribute, as every call asks."""
        self._lock = threading.Lock()

    @abstractmethod
    def write_down(self) -> None:
        """What the thread does."""

    def flushed(self) -> Future[None]:
        """Done when everything recorded so far is on disk; fails with `LedgerError` when it cannot be."""
        done: Future[None] = Future()
        self.queue.append(done)
        self.hurry = True
        self.wake()
        self.urgent.set()
        return done

    @property
    def behind(self) -> bool:
        """Whether so much waits for the disk that nothing should be added."""
        return len(self.queue) > waiting.EVENTS or self.room.bytes > waiting.BYTES

    def check(self) -> None:
        """Raise where the ledger is broken, or so far behind that memory would be at risk."""
        if self.broken is not None:
            if self.broken.code in PASSING:
                self.wake()  # the writer looks again: there may be room, or a server, by now
            raise LedgerError(self.broken.reason, code=self.broken.code, **self.broken.facts)  # a new traceback
        if self.absence is not None:
            raise LedgerError(f"the server of the ledger {self.name} is away, and is asked again", code=AWAY)
        if self.behind:
            raise LedgerError(
                f"{len(self.queue)} events with {self.room.bytes} bytes wait for {self.name}: the disk is too slow",
                code="ledger-behind",
            )

    def wait_room(self) -> None:
        """Wait until the writer has caught up, `patience` seconds at most (blocking: never on an event loop)."""
        until = time.monotonic() + self.patience
        while self.broken is None and (self.absence or self.behind) and time.monotonic() < until:
            time.sleep(waiting.POLL)
        self.check()

    def drop(self, events: int = 1) -> None:
        """Count events that observe mode leaves out rather than wait; `ledger.dropped` tells how many."""
        self.room.drop(events)
        self.wake()

    def close(self) -> None:
        """Write what is queued and end the writer thread; the next event starts it again."""
        thread = self.thread
        if thread is None or thread.ident == threading.get_ident():
            return
        self.stop = True
        self.urgent.set()
        thread.join()

    def wake(self) -> None:
        """Ring for the writer."""
        if not self.awake:
            self.awake = True
            self.urgent.set()
        if self.thread is None:
            with self._lock:
                if self.thread is None:
                    self.thread = threading.Thread(target=self.write_down, name="sidecar-ledger", daemon=True)
                    self.thread.start()

    def doze(self) -> None:
        """The writer sleeps until somebody rings: from here on every event does."""
        self.awake = False
        if self.queue:  # it came while nobody was told to ring
            self.awake = True
        else:
            self.urgent.wait()
            self.urgent.clear()

    def ended(self) -> None:
        """The writer is gone; what came meanwhile calls the next one."""
        self.stop, self.thread, self.awake = False, None, False
        if self.queue:
            self.wake()

    def is_away(self) -> Absence:
        """Every node asks from now on whether the server is back."""
        self.absence, self.waiting = self.absence or Absence(), ENDLESS
        return self.absence

    def is_back(self) -> Absence | None:
        """The server answers; how long it was away where it was."""
        gone, self.absence, self.waiting = self.absence, None, self.queue
        if self.broken is not None and self.broken.code == AWAY:
            self.broken = None
        return gone


_LIVE: weakref.WeakSet[Queue] = weakref.WeakSet()


def _after_fork() -> None:
    # The child has neither the writer thread nor a right to the parent's connection or queue.
    for queue in list(_LIVE):
        queue._reset()
        if queue.broken is not None and queue.broken.code == AWAY:
            queue.broken = None  # it asks for itself


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
