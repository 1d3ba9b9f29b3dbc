"""Circuit breakers: who gets through when a dependency is tried again, and how soon a bad one is left alone.

In each round 50 callers come at once to a dependency that was left alone for as long as it should be; exactly
the probes may reach it. As threads of one process, as tasks of one event loop, and in three processes that
share a control file; all through governed graphs. Probes are held until everybody has been told, and fail.
`opened_within_window` is the share of seeds with which a dependency that fails 60 % of 50 calls a second is
left alone within the window, under the rules that hold where nothing else is set; `opened_by_three` is the
same for three processes of which each makes 18 calls in the window, too few to judge by alone.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.breaker_rounds import wrong_rounds
from benchmarks.options import options_of
from benchmarks.report import Target, report
from governance.errors import CircuitOpen
from governance.plane.breaker import Breaker
from governance.plane.control import Control
from governance.plane.dependencies import Dependencies
from governance.plane.permit import Permit
from governance.policy_failures import BreakerPolicy, Rules

TARGETS = {
    "admitted_wrong": Target(0),
    "opened_within_window": Target(1.0, "at least"),
    "opened_by_three": Target(1.0, "at least"),
}
PROBES, CALLERS = 3, 50
CROWDS = {
    "threads": ("threads", [CALLERS]),
    "tasks": ("tasks", [CALLERS]),
    "threads of 3 processes": ("threads", [17, 17, 16]),
    "tasks of 3 processes": ("tasks", [17, 17, 16]),
}


def opened_after(seed: int, failing: float = 0.6) -> float | None:
    """Seconds until the breaker opens; None where it did not within a minute."""
    now, chance, policy = [0.0], random.Random(seed), BreakerPolicy()
    breaker = Breaker("shop", policy, lambda: now[0])
    while now[0] < 60:
        permit = Permit(breaker)
        try:
            permit.take()
        except CircuitOpen:
            return now[0]
        permit.settle(chance.random() < failing, 0.1)
        now[0] += 0.02
    return None


def opened_by(processes: int, folder: Path, seed: int, failing: float = 0.6, each: float = 1.8) -> float | None:
    """The same for several processes on a control file that are called `each` times a second."""
    now, chance, rules = [0.0], random.Random(seed), Rules(breaker=BreakerPolicy())
    with ExitStack() as open_files:
        controls = [Control(folder / f"{seed}.db") for _ in range(processes)]
        for control in controls:
            control.watch = lambda: None  # type: ignore[method-assign]  # its thread would look at the real time
            open_files.callback(control.close)
        guarded = [Dependencies(lambda: now[0], control) for control in controls]
        breakers = [one.get("shop", rules).breaker for one in guarded]
        for call in range(round(60 * each * processes)):
            breaker = breakers[call % processes]
            assert breaker is not None
            if breaker.circuit.state != "closed":
                return now[0]
            breaker.settle(breaker.admit(), chance.random() < failing, 0.1, "Timeout")
            before, now[0] = now[0], now[0] + 1 / each / processes
            if int(before) < int(now[0]):
                for control in controls:
                    control._turn(threading.Event())
    return None


def main(argv: list[str] | None = None) -> int:
    parser = options_of(
        "breaker", __doc__, quick="10 rounds of each kind instead of 1,000; ends within 50 s", data="not used"
    )
    options = parser.parse_args(argv)
    rounds = 10 if options.quick else 1_000
    wrong, notes = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (kind, callers)) in enumerate(CROWDS.items()):
            began = time.perf_counter()
            found = wrong_rounds(Path(folder) / str(number), kind, callers, PROBES, rounds)
            notes.append(f"{name}: {rounds} rounds, {found} wrong, {time.perf_counter() - began:.0f} s")
            wrong += found
    times = [opened_after(seed) for seed in range(100)]
    within = [one for one in times if one is not None and one <= BreakerPolicy().window]
    with tempfile.TemporaryDirectory() as folder:
        shared = [opened_by(3, Path(folder), seed) for seed in range(100)]
    soon = [one for one in shared if one is not None and one <= BreakerPolicy().window]
    notes.append(f"a dependency that fails 60 % is left alone after {max(within):.2f} s at the latest")
    notes.append(f"by three processes with 18 calls in the window each, after {statistics.median(soon):.1f} s (median)")
    figures = {
        "rounds": float(rounds * len(CROWDS)),
        "admitted_wrong": float(wrong),
        "opened_within_window": len(within) / len(times),
        "opened_by_three": len(soon) / len(shared),
    }
    return report("breaker", figures, TARGETS, notes="\n".join(notes), only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
