"""Watches the room on the ledger's disk: a warning first, and a clear end before the disk is full."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from governance.errors import LedgerError

EVERY = 2.0
"""Seconds between two looks."""
LAST = 4
"""The part of the wanted room below which nothing runs any more."""
LOW = "ledger-disk"

State = Literal["enough", "low", "out"]


@dataclass(slots=True)
class Watermark:
    """Asks for the free bytes now and then, and remembers what it said."""

    name: str
    wanted: int
    free: Callable[[], int | None]
    state: State = "enough"
    left: int = 0
    _next: float = 0.0

    def look(self, now: float | None = None) -> State | None:
        """The new state where it has changed; None where nothing is new or it is too early to look again."""
        at = time.monotonic() if now is None else now
        if not self.wanted or at < self._next:
            return None
        self._next = at + EVERY
        found = self.free()
        if found is None:
            return None
        self.left = found
        state: State = "enough" if found >= self.wanted else "low" if found >= self.wanted // LAST else "out"
        if state == self.state:
            return None
        self.state = state
        return state

    def warn(self) -> None:
        warnings.warn(
            f"the disk of the ledger {self.name} has {megabytes(self.left)} left, below the {megabytes(self.wanted)} "
            f"of [ledger] min_free; below {megabytes(self.wanted // LAST)} nothing runs any more",
            RuntimeWarning,
            stacklevel=2,
        )

    def error(self) -> LedgerError:
        return LedgerError(
            f"the disk of the ledger {self.name} has {megabytes(self.left)} left, less than a quarter of the "
            f"{megabytes(self.wanted)} of [ledger] min_free; free some, and runs go on by themselves",
            code=LOW,
            free=self.left,
        )


def megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
