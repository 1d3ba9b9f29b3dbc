"""From a stop to the last call that still began after it: in one process, and across three.

Every trial lets governed tool calls run at full speed (one process: 8 threads and 8 tasks; three: 2 and 2 in
each; one worker of each has side effects), stops everything, and takes the time from the moment the stop was
asked for to the start of the last tool's own code anywhere; 0 where none began after it. The stop is
`control.stop` in the process itself, the function behind `sidecar stop` in a fourth process, or a `[[halt]]`
rule: then the time runs from the error that trips it, inside the tool that fails. All clocks are
`time.monotonic_ns`, which the processes of one machine share.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.halt_load import Load
from benchmarks.halt_processes import Process, operator, started, worker
from benchmarks.options import options_of
from benchmarks.report import Target, report

TARGETS = {
    "stop_inprocess_p99_ms": Target(10),
    "stop_processes_p99_ms": Target(100),
    "rule_inprocess_p99_ms": Target(10),
    "rule_processes_p99_ms": Target(100),
}
PROCESSES = 3
TRIALS, QUICK = 100, 10
Times = list[float]


def late(last: int, asked: int) -> float:
    """Milliseconds for which calls still began."""
    return max(0, last - asked) / 1e6


def pause() -> None:
    """So that the stop meets the workers anywhere in a call."""
    time.sleep(random.uniform(0.001, 0.02))


def in_process(trials: int, folder: Path, stop: Callable[[Load], int]) -> Times:
    """`stop` tells when it was asked for."""
    load, found = Load(folder, 8, 8), Times()
    for _ in range(trials):
        running = load.begin()
        load.wait_warm()
        pause()
        asked = stop(load)
        for one in running:
            one.result()
        found.append(late(load.last(), asked))
        load.sidecar.control.resume("all")
    load.close()
    return found


def across(trials: int, folder: Path, *, rule: bool) -> Times:
    with ExitStack() as stack:
        workers = [stack.enter_context(started(worker, folder)) for _ in range(PROCESSES)]
        person = stack.enter_context(started(operator, folder))
        return [_once_across(workers, person, rule=rule) for _ in range(trials)]


def _once_across(workers: list[Process], person: Process, *, rule: bool) -> float:
    _all(workers, "begin")
    pause()
    asked = workers[0].ask("fail") if rule else person.ask("stop")
    last = max(_all(workers, "last"))
    person.ask("resume")
    return late(last, asked)


def _all(workers: list[Process], order: str) -> list[int]:
    for one in workers:
        one.tell(order)
    return [one.hear() for one in workers]


def by_hand(load: Load) -> int:
    asked = time.monotonic_ns()
    load.sidecar.control.stop("all", reason="trial", by="benchmark")
    return asked


def measured(trials: int) -> dict[str, Times]:
    """Each in a folder of its own."""
    ways: dict[str, Callable[[Path], Times]] = {
        "stop_inprocess": lambda folder: in_process(trials, folder, by_hand),
        "stop_processes": lambda folder: across(trials, folder, rule=False),
        "rule_inprocess": lambda folder: in_process(trials, folder, Load.trip),
        "rule_processes": lambda folder: across(trials, folder, rule=True),
    }
    found = {}
    for name, way in ways.items():
        with tempfile.TemporaryDirectory(prefix="sidecar-halt-") as folder:
            found[name] = way(Path(folder))
    return found


def figures_of(found: dict[str, Times]) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for name, times in found.items():
        figures[f"{name}_p50_ms"] = statistics.median(times)
        figures[f"{name}_p99_ms"] = p99(times)
    return figures


def p99(times: Times) -> float:
    """The one that 99 of 100 do not exceed; of fewer, the worst."""
    return sorted(times)[max(0, -(-len(times) * 99 // 100) - 1)]


def main(argv: list[str] | None = None) -> int:
    parser = options_of("halt", __doc__, quick=f"{QUICK} trials of each instead of {TRIALS}", data="not used")
    options = parser.parse_args(argv)
    trials = QUICK if options.quick else TRIALS
    before = os.getloadavg()[0]
    found = measured(trials)
    worst = ", ".join(f"{name} {max(times):.1f}" for name, times in found.items())
    notes = f"{trials} trials of each; the worst in ms: {worst}; load before: {before:.1f}"
    return report("halt", figures_of(found), TARGETS, notes=notes, only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
