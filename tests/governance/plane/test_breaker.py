"""A breaker opens by rates, lets exactly so many probes through, and hears nothing of calls that are too old."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.errors import CircuitOpen
from governance.plane.breaker import Breaker
from governance.plane.circuit import OVERDUE
from governance.plane.permit import Permit
from governance.policy_failures import BreakerPolicy

RULES = BreakerPolicy(minimum=10, window=10, open=5, probes=3)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def breaker_of(clock: Clock, **changes: Any) -> Breaker:
    given: dict[str, Any] = {"minimum": 10, "window": 10, "open": 5, "probes": 3, **changes}
    return Breaker("shop", BreakerPolicy(**given), clock)


def admitted(breaker: Breaker) -> Permit:
    permit = Permit(breaker)
    permit.take()
    return permit


def call(breaker: Breaker, failed: bool | None, seconds: float = 0.1) -> None:
    admitted(breaker).settle(failed, seconds, "Timeout")


def opened(clock: Clock, **changes: Any) -> Breaker:
    breaker = breaker_of(clock, **changes)
    for _ in range(10):
        call(breaker, True)
    assert "open" == breaker.circuit.state
    return breaker


def half_open(clock: Clock, **changes: Any) -> Breaker:
    breaker = opened(clock, **changes)
    clock.now += 5
    return breaker


def test_it_opens_when_the_rate_is_reached_and_says_why(clock: Clock) -> None:
    breaker = breaker_of(clock)
    for failed in [False] * 5 + [True] * 5:
        call(breaker, failed)

    assert "open" == breaker.circuit.state
    assert "5 of 10 calls in 10 s failed, the last one: Timeout" == breaker.circuit.reason
    with pytest.raises(CircuitOpen, match=r"shop is left alone, because 5 of 10 .*; it is tried again in 5.0 s"):
        admitted(breaker)


def test_a_rate_of_few_calls_says_nothing(clock: Clock) -> None:
    breaker = breaker_of(clock)
    for _ in range(9):
        call(breaker, True)

    assert "closed" == breaker.circuit.state


def test_what_is_older_than_the_window_does_not_count(clock: Clock) -> None:
    breaker = breaker_of(clock)
    for _ in range(9):
        call(breaker, True)
    clock.now += 11
    call(breaker, True)

    assert "closed" == breaker.circuit.state


@pytest.mark.parametrize("seed", range(20))
def test_a_dependency_that_fails_60_percent_opens_it_within_its_window(seed: int, clock: Clock) -> None:
    """At 50 calls a second and the rules that hold where nothing else is set."""
    breaker, chance, began = Breaker("shop", BreakerPolicy(), clock), random.Random(seed), clock.now

    while breaker.circuit.state == "closed" and clock.now < began + 60:
        call(breaker, chance.random() < 0.6)
        clock.now += 0.02

    assert clock.now - began <= BreakerPolicy().window


@pytest.mark.parametrize("seed", range(20))
def test_a_dependency_that_fails_10_percent_never_opens_it(seed: int, clock: Clock) -> None:
    breaker, chance = Breaker("shop", BreakerPolicy(), clock), random.Random(seed)

    for _ in range(20_000):
        call(breaker, chance.random() < 0.1)
        clock.now += 0.02

    assert "closed" == breaker.circuit.state


def test_slow_answers_open_it_where_slow_is_defined(clock: Clock) -> None:
    breaker, other = breaker_of(clock, slow=1.0, slow_rate=0.8), breaker_of(clock)
    for one in (breaker, other):
        for seconds in [0.1] * 2 + [1.5] * 8:
            call(one, False, seconds)

    assert ("open", "8 of 10 calls in 10 s took 1 s or longer") == (breaker.circuit.state, breaker.circuit.reason)
    assert "closed" == other.circuit.state


def test_what_says_nothing_of_the_dependency_is_not_counted(clock: Clock) -> None:
    breaker = breaker_of(clock)
    for _ in range(50):
        call(breaker, None)
    for _ in range(9):
        call(breaker, True)

    assert "closed" == breaker.circuit.state


def test_all_probes_must_succeed_to_close_it(clock: Clock) -> None:
    breaker = half_open(clock)
    for _ in range(3):
        call(breaker, False)

    assert ("closed", "3 of 3 probes succeeded") == (breaker.circuit.state, breaker.circuit.reason)


def test_a_probe_that_succeeded_makes_no_room_for_another(clock: Clock) -> None:
    """Exactly so many in all, not at once: else a slow one would let a crowd pass, one by one."""
    breaker = half_open(clock)
    slow = admitted(breaker)
    call(breaker, False)
    call(breaker, False)

    with pytest.raises(CircuitOpen, match="it is being tried again just now"):
        admitted(breaker)
    slow.settle(False, 0.1)
    assert "closed" == breaker.circuit.state


def test_one_failed_probe_opens_it_again(clock: Clock) -> None:
    breaker = half_open(clock)
    call(breaker, False)
    call(breaker, True)

    assert ("open", "a probe failed (Timeout)") == (breaker.circuit.state, breaker.circuit.reason)


def test_a_slow_probe_is_a_failed_one(clock: Clock) -> None:
    breaker = half_open(clock, slow=1.0)
    call(breaker, False, 2.0)

    assert "open" == breaker.circuit.state


def test_a_probe_that_was_cancelled_gives_its_leave_to_another(clock: Clock) -> None:
    """Else as many cancelled calls as there are probes would leave the dependency alone for ever."""
    breaker = half_open(clock, probes=1)
    admitted(breaker).release()
    call(breaker, False)

    assert "closed" == breaker.circuit.state


def test_a_probe_that_never_comes_back_does_not_hold_it_half_open_for_ever(clock: Clock) -> None:
    breaker = half_open(clock, probes=1)
    lost = admitted(breaker)
    clock.now += 5 * OVERDUE
    with pytest.raises(CircuitOpen, match="a probe did not come back"):
        admitted(breaker)
    clock.now += 5
    call(breaker, False)
    lost.settle(True, 60.0)

    assert "closed" == breaker.circuit.state


def test_a_call_from_before_says_nothing_about_the_state_that_came_after(clock: Clock) -> None:
    """A slow call admitted while it was closed must neither close nor open a half-open one."""
    breaker = breaker_of(clock)
    late = [admitted(breaker) for _ in range(5)]
    for _ in range(10):
        call(breaker, True)
    clock.now += 5
    probe = admitted(breaker)
    for one in late[:3]:
        one.settle(False, 0.1)

    assert "half-open" == breaker.circuit.state
    late[3].settle(True, 0.1)
    assert "half-open" == breaker.circuit.state
    probe.settle(False, 0.1)
    late[4].settle(True, 0.1)
    assert "half-open" == breaker.circuit.state


def test_every_change_is_told_once(clock: Clock) -> None:
    breaker = half_open(clock, probes=1)
    call(breaker, False)

    assert ["open", "half-open", "closed"] == [one.state for one in breaker.news()]
    assert [] == breaker.news()


def test_of_50_threads_exactly_so_many_are_probes(clock: Clock) -> None:
    """In 1,000 rounds, each with all threads at the door when it opens."""
    callers, rounds, passed = 50, 1_000, list[int]()
    breaker, reached, lock = opened(clock), [0], threading.Lock()

    def prepared() -> None:
        passed.append(reached[0])
        reached[0] = 0
        if breaker.circuit.state == "half-open":
            # The probes of the last round are still out: one of them fails.
            out.pop().settle(True, 0.1)
            for one in out:
                one.release()
            out.clear()
        clock.now += 5

    out: list[Permit] = []
    barrier = threading.Barrier(callers, prepared)

    def caller(_: int) -> None:
        for _ in range(rounds):
            barrier.wait()
            permit = Permit(breaker)
            try:
                permit.take()
            except CircuitOpen:
                continue
            with lock:
                reached[0] += 1
                out.append(permit)

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(caller, range(callers)))

    assert [3] * (rounds - 1) == passed[1:]


def test_of_50_tasks_exactly_so_many_are_probes(clock: Clock) -> None:
    async def caller(breaker: Breaker) -> int:
        permit = Permit(breaker)
        await asyncio.sleep(0)
        try:
            permit.take()
        except CircuitOpen:
            return 0
        await asyncio.sleep(0)
        permit.settle(True, 0.1)
        return 1

    async def one_round() -> int:
        breaker = half_open(clock)
        return sum(await asyncio.gather(*(caller(breaker) for _ in range(50))))

    async def rounds() -> set[int]:
        return {await one_round() for _ in range(1_000)}

    assert {3} == asyncio.run(rounds())


@given(st.lists(st.sampled_from(["admit", "good", "bad", "nothing", "wait"]), max_size=200))
def test_never_more_probes_out_than_allowed_whatever_happens(steps: list[str]) -> None:
    clock = Clock()
    breaker = opened(clock, probes=2)
    out: list[Permit] = []

    for step in steps:
        if step == "wait":
            clock.now += 2
        elif step == "admit":
            before = breaker.circuit
            permit = Permit(breaker)
            try:
                permit.take()
            except CircuitOpen:
                continue
            assert before.state != "open" or breaker.circuit.state == "half-open"
            if breaker.circuit.state == "half-open":
                out.append(permit)
        elif out:
            out.pop(0).settle({"good": False, "bad": True, "nothing": None}[step], 0.1)
        if breaker.circuit.state != "half-open":
            out.clear()
        assert len(out) <= 2
