"""A bulkhead bounds what is inside and what waits, lets in whoever came first, and loses no place."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from governance.errors import Shed
from governance.plane.bulkhead import Bulkhead, Place
from governance.plane.control import Control
from governance.plane.dependencies import Dependencies
from governance.policy_failures import BulkheadPolicy, Rules

LOW, NORMAL, HIGH = range(3)


def entered(bulkhead: Bulkhead, execution: str, priority: int = NORMAL) -> Place:
    place = Place(bulkhead, execution, priority)
    place.take()
    return place


def test_the_first_to_come_is_the_first_to_be_let_in() -> None:
    bulkhead = Bulkhead("shop", 1, 2, 1.0)
    first, second, third = (entered(bulkhead, name) for name in "abc")

    assert [True, False, False] == [one.given for one in (first, second, third)]
    first.release()
    assert [True, False] == [one.given for one in (second, third)]


def test_one_more_than_may_wait_is_shed_at_once() -> None:
    bulkhead = Bulkhead("shop", 1, 1, 1.0)
    entered(bulkhead, "a"), entered(bulkhead, "b")

    with pytest.raises(Shed, match="shop has no place for another call: 1 calls are at it and 1 wait; come back later"):
        entered(bulkhead, "c")


def test_who_matters_more_is_let_in_first() -> None:
    bulkhead = Bulkhead("shop", 1, 9, 1.0)
    first = entered(bulkhead, "a", LOW)
    low, normal, high, higher = (
        entered(bulkhead, name, level) for name, level in zip("bcde", (0, 1, 2, 2), strict=True)
    )
    came = []
    for _ in range(4):
        first.release()
        first = next(one for one in (low, normal, high, higher) if one.granted.done() and one not in came)
        came.append(first)

    assert [high, higher, normal, low] == came


def test_a_full_line_makes_room_for_who_matters_more_by_sending_the_last_of_the_least_away() -> None:
    bulkhead = Bulkhead("shop", 1, 3, 1.0)
    entered(bulkhead, "a", LOW)
    waiting = [entered(bulkhead, name, level) for name, level in zip("bcd", (NORMAL, LOW, LOW), strict=True)]
    high = entered(bulkhead, "e", HIGH)

    assert [False, False, True] == [one.granted.done() for one in waiting]
    with pytest.raises(Shed, match="a call of a higher priority took its wait"):
        waiting[2].wait()
    waiting[2].release()
    assert (1, 3) == (bulkhead.inside, bulkhead.waiting)
    with pytest.raises(Shed):
        entered(bulkhead, "f", LOW)
    assert not high.granted.done()


def test_equals_do_not_displace_each_other() -> None:
    bulkhead = Bulkhead("shop", 1, 1, 1.0)
    entered(bulkhead, "a", HIGH), entered(bulkhead, "b", HIGH)

    with pytest.raises(Shed, match="1 calls are at it and 1 wait"):
        entered(bulkhead, "c", HIGH)


def test_one_that_is_displaced_while_its_task_is_cancelled_loses_no_place() -> None:
    bulkhead = Bulkhead("shop", 1, 1, 1.0)
    first, second = entered(bulkhead, "a"), entered(bulkhead, "b")
    second.granted.cancel()
    third = entered(bulkhead, "c", HIGH)
    second.release(), first.release()

    assert third.granted.done()
    third.release()
    assert (0, 0) == (bulkhead.inside, bulkhead.waiting)


def test_nobody_waits_longer_than_his_patience() -> None:
    bulkhead = Bulkhead("shop", 1, 5, 0.05)
    entered(bulkhead, "a")

    with pytest.raises(Shed, match=r"none came free within 0.05 s"):
        entered(bulkhead, "b").wait()
    with pytest.raises(Shed):
        asyncio.run(entered(bulkhead, "c").await_())


def test_a_line_that_does_not_empty_is_waited_in_for_less_long() -> None:
    """A burst may wait; where more comes than can be done, waiting only makes all of them late."""
    now = [0.0]
    bulkhead = Bulkhead("shop", 1, 9, 1.0, lambda: now[0])
    first, second = entered(bulkhead, "a"), entered(bulkhead, "b")
    now[0] = 0.9
    third = entered(bulkhead, "c")
    now[0] = 1.1
    fourth = entered(bulkhead, "d")
    assert [1.0, 1.0, 0.1] == [one.patience for one in (second, third, fourth)]

    for one in (first, second, third):
        one.release()
    now[0] = 1.2

    assert 1.0 == entered(bulkhead, "e").patience


def test_who_gives_up_gives_his_place_in_the_line_back() -> None:
    bulkhead = Bulkhead("shop", 1, 1, 0.01)
    first = entered(bulkhead, "a")
    entered(bulkhead, "b").release()
    third = entered(bulkhead, "c")
    first.release()

    assert third.given
    third.release()
    assert (0, 0) == (bulkhead.inside, bulkhead.waiting)


def test_a_place_that_comes_as_the_patience_ends_is_not_lost() -> None:
    """The one who was given it is on his way out: it goes to the next."""
    bulkhead = Bulkhead("shop", 1, 5, 0.01)
    first, second, third = (entered(bulkhead, name) for name in "abc")
    second.granted.cancel()  # what asyncio does to a wait whose time is up
    first.release()
    second.release()

    assert third.given
    third.release()
    assert (0, 0) == (bulkhead.inside, bulkhead.waiting)


def test_threads_never_overfill_it_and_lose_no_place() -> None:
    bulkhead, inside, most, lock = Bulkhead("shop", 5, 100, 0.005), [0], [0], threading.Lock()

    def caller(number: int) -> bool:
        place = Place(bulkhead, str(number))
        try:
            place.take()
            place.wait()
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.001)
            with lock:
                inside[0] -= 1
            return True
        except Shed:
            return False
        finally:
            place.release()

    with ThreadPoolExecutor(40) as pool:
        served = sum(pool.map(caller, range(1_000)))

    assert 0 < served
    assert most[0] <= 5
    assert (0, 0) == (bulkhead.inside, bulkhead.waiting)


def test_cancelled_tasks_lose_no_place() -> None:
    bulkhead, chance = Bulkhead("shop", 3, 100, 0.02), random.Random(1)

    async def caller(number: int) -> None:
        place = Place(bulkhead, str(number))
        try:
            place.take()
            await place.await_()
            assert bulkhead.inside <= 3
            await asyncio.sleep(0.001)
        except Shed:
            pass
        finally:
            place.release()

    async def all_of_them() -> None:
        tasks = [asyncio.create_task(caller(number)) for number in range(90)]
        for task in chance.sample(tasks, 40):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    for _ in range(20):
        asyncio.run(all_of_them())

    assert (0, 0) == (bulkhead.inside, bulkhead.waiting)


def test_threads_of_several_processes_never_overfill_it_while_places_go_to_and_fro(tmp_path: Path) -> None:
    """Leases are taken and given back by one thread while others enter and leave."""
    rules, over = Rules(bulkhead=BulkheadPolicy(concurrent=5, queue=100, patience=0.02)), threading.Event()
    inside, most, lock = [0], [0], threading.Lock()
    workers = []
    for _ in range(3):
        control = Control(tmp_path / "control.db")
        workers.append((control, Dependencies(time.monotonic, control)))

    def caller(number: int) -> bool:
        bulkhead = workers[number % 3][1].get("shop", rules).bulkhead
        assert bulkhead is not None
        while bulkhead.short:
            bulkhead.lease()
        place = Place(bulkhead, str(number))
        try:
            place.take()
            place.wait()
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.001)
            with lock:
                inside[0] -= 1
            return True
        except Shed:
            return False
        finally:
            place.release()

    def looking(control: Control, dependencies: Dependencies) -> None:
        while not over.is_set():
            assert dependencies._guards.shares is not None
            for share in list(dependencies._guards.shares._all.values()):
                share.unfit = True
            with control.lock:
                dependencies._read(control._connect())
                dependencies._tend(control._connect())
            time.sleep(0.001)

    threads = [threading.Thread(target=looking, args=worker) for worker in workers]
    for thread in threads:
        thread.start()
    with ThreadPoolExecutor(24) as pool:
        served = sum(pool.map(caller, range(1_500)))
    over.set()
    for thread in threads:
        thread.join()
    for control, _ in workers:
        control.close()

    assert served > 0
    assert most[0] <= 5
