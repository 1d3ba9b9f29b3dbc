"""How much may wait for the disk: events and bytes, and what happens to those who bring more."""

from __future__ import annotations

import threading
import time

EVENTS = 100_000
BYTES = 64 * 2**20
HEAVY = 1024
"""Bodies from so many bytes on are weighed; what is smaller is bounded by the number of events."""
POLL = 0.02


class Room:
    """Counts what a queue holds beyond its small events, and what was turned away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.bytes = 0
        self.dropped = 0
        self.since = 0

    def take(self, size: int) -> None:
        with self._lock:
            self.bytes += size

    def give(self, size: int) -> None:
        if size:
            with self._lock:
                self.bytes -= size

    def drop(self, events: int) -> None:
        """Count events that observe mode does not wait for."""
        with self._lock:
            self.since = self.since or time.time_ns()
            self.dropped += events

    def take_dropped(self) -> tuple[int, int]:
        """How many were dropped since when; from now on they count as told."""
        with self._lock:
            told = self.dropped, self.since
            self.dropped = self.since = 0
        return told
