"""Three processes that want more of a dependency than it may have at once; one is killed, one frozen for a while."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from governance.plane.shares import LEASE

LIMIT = 6
RULES = f"[bulkhead]\nconcurrent = {LIMIT}\nqueue = 20\npatience = 2\n"
THREADS = 6
FROZEN = LEASE + 3
"""Seconds that a process is frozen: its lease is over then, and others use what it had."""
HELD = LEASE / 2 - 2
"""Seconds of its lease that it has left at least: it is renewed when half of it is over."""


class Seen(NamedTuple):
    most: int
    """Calls at once."""
    shares: list[int]
    """Calls of each process: killed, frozen, never touched."""
    after: int
    """Calls of the last one after the leases of the others were over."""
    again: int
    """Calls of the frozen one after it went on."""


def crowded(folder: Path, before: float = 3.0) -> Seen:
    """What was seen at a dependency while processes came, died, froze and went on."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sidecar.toml").write_text(RULES)
    command = [sys.executable, "-m", "benchmarks.bulkhead_worker", str(folder), str(THREADS)]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    killed, frozen, other = workers
    try:
        for worker in workers:
            assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        time.sleep(before)
        killed.kill()
        os.kill(frozen.pid, signal.SIGSTOP)
        stopped = time.monotonic_ns()
        time.sleep(FROZEN)
        os.kill(frozen.pid, signal.SIGCONT)
        went_on = time.monotonic_ns()
        time.sleep(before)
        for worker in (frozen, other):
            assert worker.stdin is not None
            worker.stdin.close()
            worker.wait(60)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    calls = {worker.pid: calls_of(folder, worker.pid) for worker in workers}
    lapsed, held = stopped + int(LEASE * 1e9), stopped + int(HELD * 1e9)
    # Frozen in the middle of a call it still holds a place, until its lease is over; nobody ends that call earlier.
    calls[frozen.pid] = [(a, min(b, held) if a < stopped else b) for a, b in calls[frozen.pid]]
    return Seen(
        most_at_once([call for some in calls.values() for call in some]),
        [len(calls[worker.pid]) for worker in workers],
        sum(began > lapsed for began, _ in calls[other.pid] if began < went_on),
        sum(began > went_on for began, _ in calls[frozen.pid]),
    )


def calls_of(folder: Path, pid: int) -> list[tuple[int, int]]:
    lines = (folder / f"calls-{pid}").read_text().splitlines()
    whole = [line.split() for line in lines if len(line.split()) == 2]
    return [(int(began), int(ended)) for began, ended in whole]


def most_at_once(calls: list[tuple[int, int]]) -> int:
    """Of intervals; one that ends as another begins is not at once with it."""
    steps = sorted([(began, 1) for began, _ in calls] + [(ended, -1) for _, ended in calls])
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most
