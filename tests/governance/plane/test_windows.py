"""Circuits are judged by the calls of all processes: few calls of each add up, and one's bad luck is not trouble."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from governance.errors import CircuitOpen
from governance.plane.breaker import Breaker
from governance.plane.control import Control
from governance.plane.dependencies import Dependencies
from governance.plane.permit import Permit
from governance.plane.window import NAMED, Window
from governance.policy_failures import BreakerPolicy, Rules

RULES = Rules(breaker=BreakerPolicy())


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """A process on the control file, whose thread looks when it is told to."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.control = Control(path)
        self.control.watch = lambda: None  # type: ignore[method-assign]
        self.dependencies = Dependencies(clock, self.control)
        dependency = self.dependencies.get("shop", RULES)
        assert dependency.breaker is not None
        self.breaker: Breaker = dependency.breaker

    def call(self, failed: bool, tenant: str = "") -> bool:
        """One call; whether it had leave."""
        permit = Permit(self.breaker, tenant)
        try:
            permit.take()
            if permit.open:
                permit.ask()
        except CircuitOpen:
            return False
        permit.settle(failed, 0.1, "Timeout")
        return True

    def look(self) -> None:
        self.control._turn(self.control._ended)

    def rows(self) -> int:
        return int(self.control.rows("SELECT count(*) FROM windows")[0][0])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def street(tmp_path: Path, clock: Clock) -> Iterator[list[Worker]]:
    workers = [Worker(tmp_path / "control.db", clock) for _ in range(3)]
    for worker in workers:
        worker.look()
    yield workers
    for worker in workers:
        worker.control.close()


def second(workers: list[Worker], clock: Clock) -> None:
    """A second goes by, and everybody has told and heard what happened in it."""
    clock.now += 1
    for worker in workers * 2:
        worker.look()


def states(workers: list[Worker]) -> list[str]:
    return [worker.breaker.circuit.state for worker in workers]


def test_few_calls_of_each_process_add_up(street: list[Worker], clock: Clock) -> None:
    """Each makes 15 calls within the window, of which 60 % fail; one alone would need 20."""
    pattern = [True, True, False, True, False] * 3
    for number in range(10):
        for worker in street:
            worker.call(pattern[number])
            if number % 2:
                worker.call(pattern[10 + number // 2])
        second(street, clock)

    assert ["open"] * 3 == states(street)


def test_the_bad_luck_of_one_opens_nothing_where_the_others_have_none(street: list[Worker], clock: Clock) -> None:
    for number in range(9):
        for place, worker in enumerate(street):
            for part in range(5):
                worker.call(part < (3 if place == 0 and number else 2))
        second(street, clock)

    assert ["closed"] * 3 == states(street)


def test_a_process_alone_judges_by_itself(street: list[Worker]) -> None:
    for _ in range(20):
        street[0].call(True)

    assert "open" == street[0].breaker.circuit.state


def test_while_nothing_fails_nobody_writes_a_word(street: list[Worker], clock: Clock) -> None:
    for _ in range(5):
        for worker in street:
            worker.call(False)
        second(street, clock)
    assert 0 == street[0].rows()

    street[0].call(True)
    second(street, clock)
    assert 3 == street[0].rows()


def test_what_is_over_is_forgotten_and_no_row_is_left(street: list[Worker], clock: Clock) -> None:
    for worker in street:
        worker.call(True)
    second(street, clock)
    clock.now += RULES.breaker.window  # type: ignore[union-attr]
    second(street, clock)

    assert 0 == street[0].rows()


def test_who_is_gone_counts_for_the_window_and_no_longer(street: list[Worker], clock: Clock) -> None:
    for _ in range(19):
        street[0].call(True)
    second(street[:1], clock)
    street[0].control.close()
    left = street[1:]
    second(left, clock)
    clock.now += 11

    assert all(worker.call(True) for worker in left)
    assert ["closed"] * 2 == states(left)


def test_what_was_seen_before_it_opened_is_not_held_against_it_when_it_has_closed(
    street: list[Worker], clock: Clock
) -> None:
    for _ in range(10):
        for worker in street:
            worker.call(True)
    second(street, clock)
    street[0].call(True)
    second(street, clock)
    assert ["open"] * 3 == states(street)
    clock.now += 5
    for worker in street:
        assert worker.call(False)
        worker.look()
    second(street, clock)
    assert ["closed"] * 3 == states(street)

    assert all(worker.call(True) for worker in street)
    assert ["closed"] * 3 == states(street)


def test_nor_is_what_was_told_by_one_that_is_gone(street: list[Worker], clock: Clock) -> None:
    for _ in range(19):
        street[0].call(True)
    second(street, clock)
    street[0].control.close()
    left = street[1:]
    left[0].call(True)
    second(left, clock)
    assert ["open"] * 2 == states(left)
    clock.now += 5
    assert [True] * 3 == [left[0].call(False) for _ in range(3)]

    late = Worker(left[0].control.path, clock)
    late.look()
    late.call(True)
    assert "closed" == late.breaker.circuit.state
    late.control.close()


def test_nor_what_was_heard_last_where_the_file_is_gone(street: list[Worker], clock: Clock) -> None:
    for _ in range(19):
        street[0].call(True)
    second(street, clock)
    street[1].control.path.rename(street[1].control.path.with_name("away.db"))
    street[1].call(True)
    assert "open" == street[1].breaker.circuit.state
    clock.now += 5
    assert [True] * 3 == [street[1].call(False) for _ in range(3)]

    street[1].call(True)
    assert "closed" == street[1].breaker.circuit.state


def test_who_has_not_heard_that_it_opened_tells_nothing_of_before(street: list[Worker], clock: Clock) -> None:
    for _ in range(20):
        street[0].call(True)
    street[1].call(True)
    street[0].look()
    clock.now += 1
    street[1].breaker.learn = lambda known: None  # type: ignore[method-assign]
    street[1].look()

    assert 0 == street[0].rows()


def test_one_tenant_with_trouble_everywhere_opens_nothing_for_all(street: list[Worker], clock: Clock) -> None:
    for _ in range(5):
        for worker in street:
            for number in range(5):
                worker.call(True, "acme")
                worker.call(False, f"other {number}")
        second(street, clock)

    assert ["closed"] * 3 == states(street)


def test_tenants_that_fail_in_different_processes_add_up(street: list[Worker], clock: Clock) -> None:
    for _ in range(4):
        for place, worker in enumerate(street):
            worker.call(True, f"tenant {place}")
            worker.call(True, f"tenant {place}")
            worker.call(True, f"tenant {place} b")
        second(street, clock)

    assert "open" in states(street)


def test_a_window_of_before_the_machine_was_started_says_nothing(street: list[Worker], clock: Clock) -> None:
    clock.now = 1_000_000.0
    for _ in range(19):
        street[0].call(True)
    second(street, clock)
    clock.now = 3.0
    late = Worker(street[0].control.path, clock)
    late.look()

    assert late.call(True)
    assert "closed" == late.breaker.circuit.state
    late.control.close()


def test_without_the_file_each_judges_by_itself(street: list[Worker], clock: Clock) -> None:
    street[0].control.path.rename(street[0].control.path.with_name("away.db"))
    for _ in range(20):
        street[0].call(True)

    assert ["open", "closed", "closed"] == states(street)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_heard_is_what_was_seen(seed: int) -> None:
    """Three windows that hear each other count what one would that sees it all."""
    chance, now, whole = random.Random(seed), 50.0, Window(10)
    windows = [Window(10) for _ in range(3)]
    for _ in range(300):
        now += chance.choice([0.0, 0.1, 0.5])
        seen = {"failed": chance.random() < 0.4, "slow": chance.random() < 0.2, "tenant": chance.choice(["", "a", "b"])}
        for window in (whole, chance.choice(windows)):
            window.add(now, **seen)  # type: ignore[arg-type]
    for window in windows:
        window.seen(now)
    told = [window.told() for window in windows]
    for place, window in enumerate(windows):
        window.hear(told[:place] + told[place + 1 :])

    for later in (0.0, 4.0, 9.0, 20.0):
        assert [whole.seen(now + later)] * 3 == [window.seen(now + later) for window in windows]
        assert [whole.worst(1)] * 3 == [window.worst(1) for window in windows]


def test_of_thousands_of_tenants_others_are_told_of_a_few() -> None:
    window = Window(10)
    for number in range(3000):
        window.add(50.0, failed=number % 2 == 0, slow=False, tenant=f"tenant {number}")
    for _ in range(5):
        window.add(50.0, failed=True, slow=False, tenant="acme")

    assert "acme" in window.told()
    assert window.told().count("tenant") <= 2 * NAMED
