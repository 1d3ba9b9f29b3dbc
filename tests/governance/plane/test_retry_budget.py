"""All requests together never retry more than their share, however they come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.plane.retry_budget import RetryBudget


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
