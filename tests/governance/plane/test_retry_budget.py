"""All requests together never retry more than their share, however they come."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.plane.control import Control
from governance.plane.dependencies import Dependencies
from governance.plane.retry_budget import RetryBudget
from governance.plane.shares import LEASE, TENDED
from governance.policy_failures import RetriesPolicy, Rules


@given(
    st.lists(st.sampled_from(["first", "retry"]), max_size=400),
    st.floats(0.01, 1.0),
    st.integers(1, 20),
)
def test_never_more_retries_than_the_ratio_of_first_tries_and_a_burst(
    steps: list[str], ratio: float, burst: int
) -> None:
    """At every moment, in every order."""
    budget, firsts, retries = RetryBudget(ratio, burst), 0, 0

    for step in steps:
        if step == "first":
            budget.deposit()
            firsts += 1
        else:
            retries += budget.take()
        assert retries <= ratio * firsts + burst + 1e-6


@given(st.floats(0.05, 0.5), st.integers(2, 10))
def test_the_share_is_there_for_whoever_asks(ratio: float, burst: int) -> None:
    """A budget that gave nothing away would keep the first promise too; a burst of 1 loses fractions."""
    budget = RetryBudget(ratio, burst)
    retries = 0

    for _ in range(500):
        budget.deposit()
        retries += budget.take()

    assert retries >= ratio * 500 - 1


@pytest.mark.parametrize("ratio", [0.1, 0.25])
def test_threads_share_one_budget(ratio: float) -> None:
    budget = RetryBudget(ratio, 10)

    def request(number: int) -> int:
        budget.deposit()
        return sum(budget.take() for _ in range(3))

    with ThreadPoolExecutor(16) as pool:
        retries = sum(pool.map(request, range(2_000)))

    assert ratio * 2_000 - 1 <= retries <= ratio * 2_000 + 10


def test_a_full_budget_saves_no_more_than_its_burst() -> None:
    budget = RetryBudget(0.5, 2)
    for _ in range(100):
        budget.deposit()

    assert [True, True, False] == [budget.take() for _ in range(3)]


class Worker:
    """A process that makes requests and retries on the control file."""

    def __init__(self, path: Path, now: list[float], ratio: float, burst: int) -> None:
        self.control = Control(path)
        self.dependencies = Dependencies(lambda: now[0], self.control)
        found = self.dependencies.get("shop", Rules(retries=RetriesPolicy(ratio=ratio, burst=burst))).budget
        assert found is not None
        self.budget: RetryBudget = found

    def first(self) -> None:
        if self.budget.short:
            self.budget.lease()
        self.budget.deposit()

    def look(self) -> None:
        with self.control.transaction() as db:
            self.dependencies._read(db)
        self.dependencies._tend(db)


def test_one_process_alone_has_the_whole_burst(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "control.db", [0.0], 0.1, 10)
    worker.first()

    assert 10 == sum(worker.budget.take() for _ in range(20))
    worker.control.close()


@pytest.mark.parametrize("seed", range(8))
def test_all_processes_together_keep_within_the_budget(seed: int, tmp_path: Path) -> None:
    """Whoever comes later, dies or is frozen: a tenth of all first tries, and one burst."""
    chance, now, burst, path = random.Random(seed), [0.0], 10, tmp_path / "control.db"
    workers, frozen = [Worker(path, now, 0.1, burst) for _ in range(3)], -1
    firsts = retries = 0
    for step in range(900):
        number = chance.randrange(3)
        if step % 20 == 0:
            now[0] += TENDED
            for one in {0, 1, 2} - {frozen}:
                workers[one].look()
        if step == 300:
            workers[number].control.close()
            workers[number] = Worker(path, now, 0.1, burst)
        if step in (400, 700):
            frozen = number if step == 400 else -1
        if number == frozen:
            continue
        workers[number].first()
        firsts += 1
        retries += sum(workers[number].budget.take() for _ in range(chance.choice([0, 0, 1, 3])))
        assert retries <= 0.1 * firsts + burst

    assert now[0] > 2 * LEASE
    assert retries >= 0.05 * firsts  # those who earn can also spend
    for worker in workers:
        worker.control.close()


def test_what_one_has_saved_up_is_shared_with_who_comes_later(tmp_path: Path) -> None:
    now = [0.0]
    first, second = (Worker(tmp_path / "control.db", now, 0.5, 10) for _ in range(2))
    first.first(), second.first()
    assert (10, 0) == (first.budget.left, second.budget.left)
    for _ in range(3):
        now[0] += TENDED
        first.look(), second.look()
    for _ in range(100):
        first.first(), second.first()

    assert (5, 5) == (first.budget.left, second.budget.left)
    first.control.close(), second.control.close()
