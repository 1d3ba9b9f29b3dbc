"""Crowds at a dependency that is tried again: how many get through, counted over several processes."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from benchmarks.breaker_worker import SharedClock

OPEN = 5.0
RULES = """
[breaker]
minimum = 10
open = 5
probes = {probes}
"""
PATIENCE = 120.0
"""Seconds without a word from any worker, after which something is wrong with the run."""


class Crowd:
    """So many callers in so many processes."""

    def __init__(self, folder: Path, kind: str, callers: list[int], probes: int) -> None:
        self.folder = folder
        self.probes = probes
        self.callers = callers
        self._all = list(range(len(callers)))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sidecar.toml").write_text(RULES.format(probes=probes))
        self.clock = SharedClock(folder / "clock")
        self._words: queue.Queue[tuple[int, str]] = queue.Queue()
        command = [sys.executable, "-m", "benchmarks.breaker_worker", str(folder), kind]
        self.workers = [
            subprocess.Popen([*command, str(most)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for most in callers
        ]
        for number in range(len(callers)):
            threading.Thread(target=self._listen, args=(number,), daemon=True).start()
        self._busy = [0] * len(callers)
        """How often each worker was told to let its callers come, and has not yet said that they are gone."""
        for _ in callers:
            assert self._words.get(timeout=PATIENCE)[1] == "ready"

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def round(self) -> int:
        """Let all come at once after the dependency was left alone; how many reached it."""
        self.clock.move(OPEN)
        reached = self.come()
        self.release()
        return len(reached)

    def come(self, of: Iterable[int] | None = None) -> list[int]:
        """Let the callers of all workers come, or of these; the workers whose callers reached the dependency."""
        there = self._all if of is None else list(of)
        for number in there:
            self._busy[number] += 1
            self.say(number, str(self.callers[number]))
        heard = [self._word() for _ in range(sum(self.callers[number] for number in there))]
        return [number for number, word in heard if word == "reached"]

    def release(self, of: Iterable[int] | None = None) -> None:
        """Let those go that have reached it, and wait until all have gone."""
        there = self._all if of is None else list(of)
        for number in there:
            self.say(number, "release")
        while any(self._busy[number] for number in there):
            self._busy[self._words.get(timeout=PATIENCE)[0]] -= 1

    def say(self, number: int, word: str) -> None:
        stdin = self.workers[number].stdin
        assert stdin is not None
        stdin.write(word + "\n")
        stdin.flush()

    def _word(self) -> tuple[int, str]:
        """The next word of a caller; a worker whose callers were all refused is done before the others."""
        while True:
            number, word = self._words.get(timeout=PATIENCE)
            if word != "done":
                return number, word
            self._busy[number] -= 1

    def _listen(self, number: int) -> None:
        stdout = self.workers[number].stdout
        assert stdout is not None
        for line in stdout:
            self._words.put((number, line.strip()))


def wrong_rounds(folder: Path, kind: str, callers: list[int], probes: int, rounds: int) -> int:
    """Of so many rounds, those in which not exactly the probes reached the dependency."""
    with Crowd(folder, kind, callers, probes) as crowd:
        opened = crowd.round()
        assert opened == sum(callers), "all reach it while nothing is known of it"
        return sum(crowd.round() != probes for _ in range(rounds))
