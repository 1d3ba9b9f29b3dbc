"""When a process is killed: at a random moment, or when a request of it is somewhere."""

from __future__ import annotations

import multiprocessing.process
import queue
import random
import time
from collections import defaultdict

AIMS = ("random", "random", "received", "done", "answered")


class Ear:
    """Hears from the service where the requests of each process are."""

    def __init__(self) -> None:
        self._heard: dict[int, queue.SimpleQueue[str]] = defaultdict(queue.SimpleQueue)

    def heard(self, what: str, pid: int) -> None:
        self._heard[pid].put(what)

    def wait(self, what: str, pid: int, seconds: float) -> None:
        """Until the next request of the process is so far, or the time is over."""
        told, until = self._heard[pid], time.monotonic() + seconds
        while not told.empty():
            told.get()
        while (left := until - time.monotonic()) > 0:
            try:
                if told.get(timeout=left) == what:
                    return
            except queue.Empty:
                return


def take_aim(process: multiprocessing.process.BaseProcess, ear: Ear, most: float) -> None:
    """Wait for the moment to kill a process, `most` seconds more than it lives for anyway."""
    assert process.pid is not None
    aim = random.choice(AIMS)
    process.join(random.uniform(0.1, 1.5))
    if aim != "random" and process.is_alive():
        ear.wait(aim, process.pid, most)
