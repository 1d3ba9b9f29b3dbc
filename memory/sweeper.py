"""The thread that deletes what has expired, now and then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

_log = logging.getLogger(__name__)


class Sweeper:
    """Calls `sweep` every so often until it is stopped; a sweep that fails is logged, and the next one comes."""

    def __init__(self, sweep: Callable[[], int]) -> None:
        self._sweep = sweep
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, minutes: float) -> Future[None]:
        """Start it, if it does not run yet; cancelling the future stops it."""
        ended: Future[None] = Future()
        ended.add_done_callback(lambda future: self._stopped.set() if future.cancelled() else None)
        if self._thread is None or not self._thread.is_alive():
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, args=(minutes * 60,), daemon=True, name="memory-sweeper")
            self._thread.start()
        return ended

    def stop(self, timeout: float | None = None) -> bool:
        """Stop it and wait; whether it has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def _run(self, seconds: float) -> None:
        while not self._stopped.wait(seconds):
            try:
                self._sweep()
            except Exception:
                _log.exception("sweeping expired memories failed; the next sweep is in %.0f s", seconds)
