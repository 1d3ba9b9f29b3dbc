"""A retry budget: what all requests together may add to the load of a dependency by trying again.

Never more retries than `ratio` times the first tries, plus `burst`, in all processes together: each earns by
its own first tries, and the room to save up what is earned is shared. A retry is paid for when it is
decided on, before it waits: retries that wait would otherwise all come at once when the wait is over.
"""

from __future__ import annotations

import threading

from governance.plane.shares import Share


class RetryBudget:
    """A token bucket: a first try puts `ratio` of a token in, a retry takes one out."""

    def __init__(self, ratio: float, burst: int) -> None:
        self.ratio = ratio
        self.burst = burst
        self.share: Share | None = None
        """This process's part of the burst; without one, all of it is."""
        self._room = burst
        self._tokens = float(burst)
        self._leased = False
        self._lock = threading.Lock()

    def shared(self, share: Share) -> None:
        """From now on there is only the room that this process has leased."""
        self.share, self._room, self._tokens = share, 0, 0.0

    @property
    def left(self) -> float:
        return self._tokens

    @property
    def short(self) -> bool:
        """Whether a part of the burst has to be leased before anything can be saved."""
        return self.share is not None and self.share.lapsed and self.share.may_grow

    def lease(self) -> None:
        """Lease all that is free of the burst (blocking)."""
        if self.share is not None:
            self.share.lease(self.burst)

    def deposit(self) -> None:
        """A request tries for the first time."""
        with self._lock:
            self._tokens = min(self._room, self._tokens + self.ratio)

    def take(self) -> bool:
        """Pay for one retry; False where there is nothing left."""
        with self._lock:
            if self._tokens < 1 or (self.share is not None and self.share.lapsed):
                return False
            self._tokens -= 1
            return True

    def demand(self) -> int:
        return self.burst

    def grow(self, held: int, *, alone: bool) -> None:
        """Room that comes from another process comes empty; the first of all finds the burst saved up."""
        with self._lock:
            if alone and not self._leased:
                self._tokens = float(held)
            self._leased = True
            self._hold(held)

    def shrink(self, held: int) -> int:
        with self._lock:
            self._hold(held)
        return held

    def _hold(self, held: int) -> None:
        self._room = held
        self._tokens = min(self._tokens, held)
