"""A server that is away: for how long, and when to ask again."""

from __future__ import annotations

import time

FIRST, LONGEST = 0.05, 2.0
"""Seconds between two tries: at first, and at the most."""


class Absence:
    """Begins with the first try that failed."""

    def __init__(self) -> None:
        self.since = time.time_ns()
        self.tries = 0
        self._began = time.monotonic()

    def lasts(self, seconds: float) -> bool:
        """Whether it has been away for so long by now."""
        return time.monotonic() - self._began >= seconds

    def pause(self, longest: float) -> float:
        """Seconds until the next try: none at first, as often only the connection was lost, then ever more."""
        self.tries += 1
        if self.tries == 1:
            return 0.0
        return min(FIRST * 2.0 ** min(self.tries - 2, 10), LONGEST, longest)
