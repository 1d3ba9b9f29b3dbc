"""The benchmark of stops counts what still began after one, and its load runs until it is stopped."""

from __future__ import annotations

from pathlib import Path

from benchmarks.halt import TARGETS, figures_of, late, p99
from benchmarks.halt_load import Load


def test_what_began_before_the_stop_is_not_late() -> None:
    assert (0.0, 1.5) == (late(1_000_000, 2_000_000), late(3_500_000, 2_000_000))


def test_the_figure_is_the_time_that_99_of_100_do_not_exceed() -> None:
    assert 99.0 == p99([float(n) for n in range(100, 0, -1)])
    assert 3.0 == p99([3.0, 1.0, 2.0])


def test_every_target_has_its_figure() -> None:
    ways = ("stop_inprocess", "stop_processes", "rule_inprocess", "rule_processes")

    assert TARGETS.keys() <= figures_of({way: [1.0, 2.0] for way in ways}).keys()


def test_a_load_runs_until_it_is_stopped_by_hand_or_by_its_rule(tmp_path: Path) -> None:
    load = Load(tmp_path, threads=2, tasks=2)
    running = load.begin()
    load.wait_warm()
    load.sidecar.control.stop("all", reason="trial", by="test")
    for one in running:
        one.result()
    stopped = load.last()
    load.sidecar.control.resume("all")

    running = load.begin()
    load.wait_warm()
    tripped = load.trip()
    for one in running:
        one.result()
    order = load.sidecar.control.stops["all", "*"]
    load.close()

    assert tripped > stopped > 0
    assert "rule:errors" == order.by
