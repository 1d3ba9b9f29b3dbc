"""Leases of a pool never add up to more than its size, whoever dies, freezes or comes anew, and nobody starves."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.plane.control import Control
from governance.plane.shares import LEASE, TENDED, Share, Shares, divided


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """A process on the control file: what it needs, and what it has in use of what it holds."""

    def __init__(self, path: Path, clock: Clock, size: int, pool: str = "shop") -> None:
        self.control = Control(path)
        self.shares = Shares(self.control, clock)
        self.needs = 0
        self.used = 0
        self.places = 0
        self.share: Share = self.shares.open(pool, size, self)

    def demand(self) -> int:
        return self.needs

    def grow(self, held: int, *, alone: bool) -> None:
        self.places = held

    def shrink(self, held: int) -> int:
        self.places = held
        return max(held, self.used)

    def take(self) -> bool:
        """As a bulkhead does it: ask for more only where what is held does not do."""
        if (self.share.lapsed or self.used >= self.places) and self.share.may_grow:
            self.share.lease(self.used + 1)
        if self.share.lapsed or self.used >= self.places:
            return False
        self.used += 1
        return True

    def look(self) -> None:
        """As the control file's thread does it."""
        with self.control.transaction(synced=False) as db:
            self.shares.read(db)
        self.shares.tend(db)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def street(tmp_path: Path, clock: Clock) -> Iterator[list[Worker]]:
    workers = [Worker(tmp_path / "control.db", clock, 12) for _ in range(3)]
    yield workers
    for worker in workers:
        worker.control.close()


def leased(worker: Worker) -> int:
    now = worker.shares.clock()
    query = "SELECT COALESCE(sum(held), 0) FROM shares WHERE until BETWEEN ? AND ?"
    return int(worker.control.rows(query, (now, now + LEASE))[0][0])


def test_one_alone_gets_all_it_asks_for(street: list[Worker]) -> None:
    assert 12 == sum(street[0].take() for _ in range(20))


def test_together_they_never_get_more(street: list[Worker]) -> None:
    assert 12 == sum(worker.take() for _ in range(20) for worker in street)


def test_who_comes_later_gets_as_much_as_the_first_who_wants_more_than_there_is(
    street: list[Worker], clock: Clock
) -> None:
    first, second, _ = street
    while first.take():
        pass
    assert not second.take()
    first.needs = second.needs = 20
    for _ in range(4):
        first.used = min(first.used, first.places)
        clock.now += TENDED
        for worker in (first, second):
            worker.look()
        first.used = 6  # half of its calls have ended

    assert (6, 6) == (first.places, second.places)


def test_a_place_in_use_is_given_away_when_its_call_ends(street: list[Worker], clock: Clock) -> None:
    """Even by one that has always more to do: it begins no other call until it is down to its part."""
    first, second, _ = street
    while first.take():
        pass
    second.take()
    had = []
    for _ in range(8):
        first.needs = second.needs = 20
        clock.now += TENDED
        first.look(), second.look()
        while first.take() or second.take():
            pass
        had.append((first.used, second.used))
        assert first.used + second.used <= 12
        first.used = max(0, first.used - 1)

    assert ((12, 0), (6, 6)) == (had[0], had[-1])


def test_what_is_not_used_is_free_for_others(street: list[Worker], clock: Clock) -> None:
    first, second, _ = street
    while first.take():
        pass
    first.used = first.needs = 0
    clock.now += TENDED
    first.look()

    assert (0, 12) == (first.places, sum(second.take() for _ in range(20)))


def test_a_dead_workers_lease_is_free_when_it_is_over(street: list[Worker], clock: Clock) -> None:
    dead, other, _ = street
    while dead.take():
        pass
    clock.now += LEASE - 1
    assert not other.take()
    clock.now += 2

    assert 12 == sum(other.take() for _ in range(20))


def test_a_frozen_worker_takes_nothing_of_what_it_had_before_it_has_asked(street: list[Worker], clock: Clock) -> None:
    frozen, other, _ = street
    while frozen.take():
        pass
    frozen.used = 0
    clock.now += LEASE + 1
    assert 12 == sum(other.take() for _ in range(20))

    assert not frozen.take()
    assert 0 == frozen.places


def test_what_was_written_before_the_machine_was_started_holds_nothing(street: list[Worker], clock: Clock) -> None:
    before, after, _ = street
    while before.take():
        pass
    clock.now = 5.0

    assert 12 == sum(after.take() for _ in range(20))


def test_without_the_file_each_goes_on_and_it_is_said_once(tmp_path: Path, clock: Clock) -> None:
    worker = Worker(tmp_path / "control.db", clock, 3)
    worker.control.refresh()
    worker.control.path.rename(tmp_path / "away.db")

    with pytest.warns(RuntimeWarning, match="shares limits with no other process") as said:
        assert 3 == sum(worker.take() for _ in range(5))
        clock.now += LEASE
        assert not worker.take()
    assert 1 == len(said)
    worker.used = 0
    assert worker.take()
    worker.control.close()


def test_what_is_closed_is_free_at_once(street: list[Worker]) -> None:
    first, second, _ = street
    while first.take():
        pass
    first.shares.close()

    assert 12 == sum(second.take() for _ in range(20))


@pytest.mark.parametrize("seed", range(12))
def test_never_more_than_there_is_whatever_happens(seed: int, tmp_path: Path, clock: Clock) -> None:
    """Calls, ends of calls, kills, long freezes and looks, in any order, by up to six workers."""
    chance, size = random.Random(seed), random.Random(seed).choice([1, 2, 5, 12])
    path = tmp_path / "control.db"
    workers = [Worker(path, clock, size) for _ in range(4)]
    frozen: set[int] = set()
    served = 0

    for _ in range(600):
        number = chance.randrange(len(workers))
        worker = workers[number]
        step = chance.choice(["take", "take", "take", "end", "look", "wait", "kill", "freeze"])
        if step == "freeze" and chance.random() < 0.1:
            frozen ^= {number}
            worker.used = 0  # a dependency does not wait for a frozen caller
        elif step == "wait":
            clock.now += chance.choice([0.1, 0.3, 1.0, 3.0])
            for other in {*range(4)} - frozen:
                workers[other].look()
        elif step == "kill" and chance.random() < 0.05:
            worker.control.close()
            workers[number] = Worker(path, clock, size)
        elif number in frozen:
            continue
        elif step == "take":
            worker.needs = max(worker.needs, worker.used + 1)
            served += worker.take()
        elif step == "end":
            worker.used = max(0, worker.used - 1)
        elif step == "look":
            worker.look()
            worker.needs = worker.used
        assert leased(worker) <= size
        assert sum(max(one.places, one.used) for one in workers if not one.share.lapsed) <= size

    assert served > size
    for worker in workers:
        worker.control.close()


@given(st.integers(1, 40), st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(0, 100))
def test_a_division_is_whole_and_fair(size: int, wants: list[int], turn: int) -> None:
    found = divided(size, {f"{number}": want for number, want in enumerate(wants)}, turn)

    assert min(size, sum(wants)) == sum(found.values())
    assert all(found[f"{number}"] <= want for number, want in enumerate(wants))
    unsatisfied = [found[f"{number}"] for number, want in enumerate(wants) if found[f"{number}"] < want]
    assert not unsatisfied or max(found.values()) <= min(unsatisfied) + 1


def test_a_single_place_goes_round() -> None:
    had = {
        next(name for name, places in divided(1, {"a": 3, "b": 3, "c": 3}, turn).items() if places) for turn in range(3)
    }

    assert {"a", "b", "c"} == had


def test_other_pools_are_other_pools(tmp_path: Path, clock: Clock) -> None:
    shop, bank = (Worker(tmp_path / "control.db", clock, 2, pool) for pool in ("shop", "bank"))

    assert (2, 2) == (sum(shop.take() for _ in range(5)), sum(bank.take() for _ in range(5)))
    shop.control.close(), bank.control.close()


def test_its_table_is_small(street: list[Worker], clock: Clock) -> None:
    """Nothing is left of workers that need nothing."""
    for worker in street:
        worker.take()
        worker.used = 0
    clock.now += TENDED
    for worker in street:
        worker.look()
    with sqlite3.connect(street[0].control.path) as db:
        assert [] == db.execute("SELECT * FROM shares").fetchall()


def test_who_needs_a_place_that_is_being_given_back_asks_once_and_then_waits(
    street: list[Worker], clock: Clock
) -> None:
    """It holds enough for as long as its calls have not ended, but may use no more than its part."""
    first = street[0]
    for worker in street:
        worker.needs = 12
        for _ in range(6):
            worker.take()
    clock.now += TENDED
    for worker in [*street[1:], first]:
        worker.look()
    assert first.places < first.used == first.share.held < 12
    first.used = first.places

    assert not first.take()
    assert not first.share.may_grow
    clock.now += TENDED
    assert first.share.may_grow
