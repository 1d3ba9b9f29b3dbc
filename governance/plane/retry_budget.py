"""A retry budget: what all requests together may add to the load of a dependency by trying again.

Never more retries than `ratio` times the first tries, plus `burst`. A retry is paid for when it is
decided on, before it waits: retries that wait would otherwise all come at once when the wait is over.
"""

from __future__ import annotations

import threading


class RetryBudget:
    """A token bucket: a first try puts `ratio` of a token in, a retry takes one out."""

    def __init__(self, ratio: float, burst: int) -> None:
        self.ratio = ratio
        self.burst = burst
        self._tokens = float(burst)
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        return self._tokens

    def deposit(self) -> None:
        """A request tries for the first time."""
        with self._lock:
            self._tokens = min(self.burst, self._tokens + self.ratio)

    def take(self) -> bool:
        """Pay for one retry; False where there is nothing left."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
