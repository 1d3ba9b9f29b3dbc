"""The benchmarks of breakers and bulkheads count what they should, and their crowds are as big as they say."""

from __future__ import annotations

from pathlib import Path

from benchmarks.breaker import opened_after, opened_by
from benchmarks.breaker_rounds import wrong_rounds
from benchmarks.breaker_worker import SharedClock
from benchmarks.bulkhead import RATES, arrivals, by_tasks, by_threads, goodput
from benchmarks.bulkhead_crowd import most_at_once
from governance.policy_failures import BreakerPolicy


def test_calls_at_once_are_those_that_overlap() -> None:
    assert 2 == most_at_once([(0, 10), (10, 20), (5, 15), (20, 30)])
    assert 0 == most_at_once([])


def test_a_bad_dependency_opens_it_and_a_good_one_does_not() -> None:
    found = opened_after(1)

    assert found is not None and found <= BreakerPolicy().window
    assert opened_after(1, failing=0.1) is None


def test_processes_that_are_called_seldom_open_it_together(tmp_path: Path) -> None:
    found = opened_by(3, tmp_path, 1)

    assert found is not None and found <= BreakerPolicy().window
    assert opened_by(3, tmp_path, 2, failing=0.1) is None


def test_all_processes_look_at_the_same_clock(tmp_path: Path) -> None:
    first, second = SharedClock(tmp_path / "clock"), SharedClock(tmp_path / "clock")
    first.move(2.5)

    assert (2.5, 2.5) == (first(), second())


def test_a_round_in_which_not_exactly_the_probes_get_through_is_wrong(tmp_path: Path) -> None:
    assert 0 == wrong_rounds(tmp_path, "tasks", [12], 2, rounds=2)


def test_requests_come_evenly() -> None:
    names = [name for _, name in arrivals(2.0)]

    assert {name: 2 * rate for name, rate in RATES.items()} == {name: names.count(name) for name in RATES}


def test_goodput_is_a_share(tmp_path: Path) -> None:
    for load in (by_threads, by_tasks):
        assert goodput(load, 0.1, tmp_path / load.__name__) >= 0
