"""What one process finds out about a dependency is known to the others at their next call, and only probes are asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from governance.errors import CircuitOpen
from governance.plane.breaker import Breaker
from governance.plane.circuit import OVERDUE
from governance.plane.control import Control
from governance.plane.dependencies import TENANTS_KEPT, Dependencies
from governance.plane.permit import Permit
from governance.policy_failures import BreakerPolicy, Rules

POLICY = BreakerPolicy(minimum=10, window=10, open=5, probes=3)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """A process on the control file."""

    def __init__(self, path: Path, clock: Clock, rules: Rules) -> None:
        self.control = Control(path)
        self.dependencies = Dependencies(clock, self.control)
        self.dependency = self.dependencies.get("shop", rules)
        assert self.dependency.breaker is not None
        self.breaker: Breaker = self.dependency.breaker

    def call(self, failed: bool | None, breaker: Breaker | None = None, tenant: str = "") -> bool:
        """One call, as the filter makes it; whether it had leave."""
        permit = self.leave(breaker or self.breaker, tenant)
        if permit is None:
            return False
        permit.settle(failed, 0.1, "Timeout")
        return True

    def leave(self, breaker: Breaker | None = None, tenant: str = "") -> Permit | None:
        if not self.control.is_fresh():
            self.control.refresh()
        permit = Permit(breaker or self.breaker, tenant)
        try:
            permit.take()
            if permit.open:
                permit.ask()
        except CircuitOpen:
            return None
        return permit

    def told(self) -> None:
        """Wait until what is to be done soon has been done."""
        self.control.close()
        self.control.refresh()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(path: Path, clock: Clock, number: int = 3, policy: BreakerPolicy = POLICY) -> list[Worker]:
    return [Worker(path / "control.db", clock, Rules(breaker=policy)) for _ in range(number)]


@pytest.fixture
def street(tmp_path: Path, clock: Clock) -> Iterator[list[Worker]]:
    workers = made(tmp_path, clock)
    yield workers
    for worker in workers:
        worker.control.close()


def opened(workers: list[Worker]) -> None:
    for _ in range(10):
        workers[0].call(True)
    workers[0].told()
    for worker in workers:
        worker.control.refresh()


def states(workers: list[Worker]) -> list[str]:
    for worker in workers:
        worker.control.refresh()
    return [worker.breaker.circuit.state for worker in workers]


def test_what_opens_in_one_is_open_in_all(street: list[Worker]) -> None:
    opened(street)

    assert ["open"] * 3 == states(street)
    assert not street[2].call(False)


def test_it_is_open_where_it_opened_before_anybody_was_told(street: list[Worker]) -> None:
    street[0].control.refresh()
    with street[1].control.transaction():  # nobody can write
        for _ in range(10):
            street[0].call(True)

        assert not street[0].call(False)


def test_probes_that_succeed_anywhere_close_it_everywhere(street: list[Worker], clock: Clock) -> None:
    opened(street)
    clock.now += 5

    assert [True] * 3 == [worker.call(False) for worker in street]
    assert ["closed"] * 3 == states(street)
    assert [] == street[0].control.rows("SELECT * FROM circuits")


def test_a_probe_that_fails_anywhere_opens_it_everywhere(street: list[Worker], clock: Clock) -> None:
    opened(street)
    clock.now += 5
    street[0].call(False)
    street[1].call(True)

    assert ["open"] * 3 == states(street)


def test_never_more_probes_than_allowed_in_all_processes_together(street: list[Worker], clock: Clock) -> None:
    opened(street)
    clock.now += 5
    out = [permit for _ in range(5) for worker in street if (permit := worker.leave()) is not None]

    assert 3 == len(out)
    out[0].release()
    street[0].told()
    assert 1 == sum(worker.leave() is not None for _ in range(3) for worker in street)


def test_who_is_refused_asks_the_file_once_and_not_at_each_call(street: list[Worker], clock: Clock) -> None:
    opened(street)
    clock.now += 5
    out = [street[0].leave() for _ in range(3)]
    for worker in street:
        worker.leave()
        assert not worker.breaker.must_ask

    out[0].settle(False, 0.1)  # type: ignore[union-attr]
    assert 2 == street[1].control.rows("SELECT out FROM circuits")[0][0]
    assert not any(worker.leave() for worker in street)


def test_a_process_that_comes_later_begins_with_what_is_known(street: list[Worker], clock: Clock) -> None:
    opened(street)
    late = Worker(street[0].control.path, clock, Rules(breaker=POLICY))

    assert not late.call(False)
    late.control.close()


def test_probes_that_do_not_come_back_have_failed(street: list[Worker], clock: Clock) -> None:
    opened(street)
    clock.now += 5
    lost = [street[0].leave() for _ in range(3)]
    clock.now += 5 * OVERDUE
    assert not street[1].call(False)
    clock.now += 5
    assert [True] * 3 == [worker.call(False) for worker in street[1:] + street[1:2]]
    for permit in lost:
        permit.settle(True, 60.0)  # type: ignore[union-attr]

    assert ["closed"] * 3 == states(street)


def test_other_rules_are_another_circuit(street: list[Worker], clock: Clock, tmp_path: Path) -> None:
    opened(street)
    (other,) = made(tmp_path, clock, 1, BreakerPolicy(minimum=11))

    assert other.call(False)
    other.control.close()


def test_without_the_file_each_process_goes_by_what_it_knows(street: list[Worker], clock: Clock) -> None:
    opened(street)
    street[0].control.path.rename(street[0].control.path.with_name("away.db"))
    clock.now += 5
    first = street[0]

    assert [True] * 3 == [first.call(False) for _ in range(3)]
    assert "closed" == first.breaker.circuit.state
    assert "open" == street[1].breaker.circuit.state


def test_a_circuit_of_before_the_machine_was_started_says_nothing(street: list[Worker], clock: Clock) -> None:
    clock.now = 1_000_000.0
    opened(street)
    clock.now = 3.0
    late = Worker(street[0].control.path, clock, Rules(breaker=POLICY))

    assert late.call(False)
    late.control.close()


@pytest.mark.parametrize("seed", range(10))
def test_never_more_in_one_turn_whatever_happens(seed: int, street: list[Worker], clock: Clock) -> None:
    chance, out = random.Random(seed), dict[str, int]()
    opened(street)
    under_way: list[Permit] = []
    for _ in range(400):
        step = chance.choice(["call", "call", "good", "bad", "nothing", "wait"])
        if step == "wait":
            clock.now += chance.choice([0.5, 3.0, 60.0])
        elif step == "call":
            worker = chance.choice(street)
            permit = worker.leave()
            if permit is not None:
                under_way.append(permit)
                if permit.probes:
                    assert permit._circuit is not None
                    out[permit._circuit.turn] = out.get(permit._circuit.turn, 0) + 1
        elif under_way:
            permit = under_way.pop(chance.randrange(len(under_way)))
            if step == "nothing" and permit.probes:
                assert permit._circuit is not None
                out[permit._circuit.turn] -= 1
            permit.settle({"good": False, "bad": True, "nothing": None}[step], 0.1)
        assert not out or max(out.values()) <= 3
    assert out


def by_tenant(worker: Worker, tenant: str, failed: bool) -> bool:
    """A call of a tenant, as the filter makes it: by its own breaker first, then by that of all."""
    permits = [worker.leave(worker.dependency.breaker_of(tenant)), worker.leave(worker.breaker, tenant)]
    if None in permits:
        return False
    for permit in permits:
        permit.settle(failed, 0.1, "401")  # type: ignore[union-attr]
    return True


def test_what_one_tenant_has_trouble_with_is_left_alone_for_that_tenant_alone(street: list[Worker]) -> None:
    """However much of the traffic is its."""
    for number in range(200):
        by_tenant(street[0], "acme", True)
        if number % 10 == 0:
            by_tenant(street[0], "emca", False)
    street[0].told()
    street[1].control.refresh()

    assert not by_tenant(street[1], "acme", False)
    assert by_tenant(street[1], "emca", False)
    assert "closed" == street[0].breaker.circuit.state


def test_what_several_have_trouble_with_is_left_alone_for_all(street: list[Worker]) -> None:
    """Also for those who have not called it often enough to know."""
    for number in range(12):
        by_tenant(street[0], f"tenant {number}", True)

    assert "open" == street[0].breaker.circuit.state
    assert not by_tenant(street[0], "somebody else", False)


def test_two_with_bad_keys_among_many_do_not_open_it_for_all(street: list[Worker]) -> None:
    for number in range(300):
        by_tenant(street[0], f"bad {number % 2}", True)
        by_tenant(street[0], f"good {number}", False)

    assert "closed" == street[0].breaker.circuit.state


def test_thousands_of_tenants_take_a_bounded_part_of_memory_and_what_is_open_is_kept(street: list[Worker]) -> None:
    first = street[0]
    for _ in range(10):
        by_tenant(first, "acme", True)
    for number in range(3 * TENANTS_KEPT):
        first.dependency.breaker_of(f"{number}")

    assert TENANTS_KEPT == len(first.dependency._breakers)
    assert not by_tenant(first, "acme", False)
