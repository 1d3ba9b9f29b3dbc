"""Three real processes at one dependency that is tried again: exactly the probes get through, whoever dies or freezes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.breaker_rounds import OPEN, Crowd
from governance.plane.circuit import OVERDUE


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_of_the_callers_of_three_processes_exactly_the_probes_reach_it(kind: str, tmp_path: Path) -> None:
    with Crowd(tmp_path, kind, [10, 10, 10], probes=3) as crowd:
        assert 30 == crowd.round()

        assert [3] * 5 == [crowd.round() for _ in range(5)]


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    """It has been left alone, and one caller of some process tries whether it works again."""
    with Crowd(tmp_path, "threads", [12, 12, 12], probes=1) as made:
        made.round()
        made.clock.move(OPEN)
        yield made


def test_a_killed_probe_leaves_the_dependency_alone_until_its_time_is_up(crowd: Crowd) -> None:
    (dead,) = crowd.come()
    crowd.workers[dead].kill()
    crowd.workers[dead].wait()
    others = {0, 1, 2} - {dead}
    crowd.release(others)

    assert [] == crowd.come(others)
    crowd.clock.move(OVERDUE * OPEN)
    assert [] == crowd.come(others)  # it has failed, as far as anybody knows
    crowd.clock.move(OPEN)
    assert 1 == len(crowd.come(others))


def test_a_frozen_probe_is_given_up_and_what_it_says_later_changes_nothing(crowd: Crowd) -> None:
    (frozen,) = crowd.come()
    os.kill(crowd.workers[frozen].pid, signal.SIGSTOP)
    others = {0, 1, 2} - {frozen}
    crowd.clock.move(OVERDUE * OPEN)
    assert [] == crowd.come(others)
    crowd.clock.move(OPEN)
    assert 1 == len(crowd.come(others))

    os.kill(crowd.workers[frozen].pid, signal.SIGCONT)
    crowd.release({frozen})
    assert [] == crowd.come({frozen})  # the other's probe is still under way
    crowd.release()
    assert 1 == crowd.round()
