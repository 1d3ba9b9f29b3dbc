"""What a node leaves for somebody else's thread to call is a part of the node."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from governance import Contract, Sidecar, govern
from governance.errors import Abandoned, AuthorityRefused, Refusal


def quiet(work: Callable[[], Any]) -> None:
    try:
        work()
    except Refusal:
        pass


def after_a_future(work: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        go, called = threading.Event(), threading.Event()
        future = pool.submit(go.wait, 5)
        future.add_done_callback(lambda _: (quiet(work), called.set()))
        go.set()
        called.wait(5)


def after_a_future_of_others(work: Callable[[], Any]) -> None:
    """The thread that completes it was there before the node, and knows nothing of it."""
    future, called = completed_elsewhere(), threading.Event()
    future.add_done_callback(fn=lambda _: (quiet(work), called.set()))
    called.wait(5)


def after_a_future_that_is_done(work: Callable[[], Any]) -> None:
    future: Future[None] = Future()
    future.set_result(None)
    future.add_done_callback(lambda _: quiet(work))


def by_a_pools_callback(work: Callable[[], Any]) -> None:
    called = threading.Event()
    with ThreadPool(1) as pool:
        pool.apply_async(lambda: 1, callback=lambda _: (quiet(work), called.set()))
        called.wait(5)


def by_a_pools_error_callback(work: Callable[[], Any]) -> None:
    called = threading.Event()
    with ThreadPool(1) as pool:
        pool.map_async(lambda _: 1 / 0, [1], None, None, lambda _: (quiet(work), called.set()))
        called.wait(5)


def by_starmap(work: Callable[[], Any]) -> None:
    called = threading.Event()
    with ThreadPool(1) as pool:
        pool.starmap_async(lambda _: 1, [(1,)], callback=lambda _: (quiet(work), called.set()))
        called.wait(5)


def by_a_pools_initializer(work: Callable[[], Any]) -> None:
    with ThreadPool(1, initializer=lambda: quiet(work)) as pool:
        pool.apply(lambda: 1)


def by_an_executors_initializer(work: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(1, initializer=quiet, initargs=(work,)) as pool:
        pool.submit(lambda: 1).result(5)


_waiting: list[Future[None]] = []
_more = threading.Event()


def _complete() -> None:
    while True:
        _more.wait()
        _more.clear()
        while _waiting:
            threading.Event().wait(0.02)
            _waiting.pop().set_result(None)


def completed_elsewhere() -> Future[None]:
    future: Future[None] = Future()
    _waiting.append(future)
    _more.set()
    return future


threading.Thread(target=_complete, daemon=True).start()

WAYS = [
    after_a_future,
    after_a_future_of_others,
    after_a_future_that_is_done,
    by_a_pools_callback,
    by_a_pools_error_callback,
    by_starmap,
    by_a_pools_initializer,
    by_an_executors_initializer,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_callback_acts_for_the_node_that_left_it(way: Any, sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = one(lambda state: way(lambda: till.pay.invoke({"amount": 1})))
    govern(graph, contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("way", WAYS)
def test_a_callback_may_do_what_its_node_may(way: Any, sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = one(lambda state: way(lambda: till.pay.invoke({"amount": 1})))
    govern(graph, contracts={"n": Contract(tools=["pay"])}, sidecar=sidecar)

    graph.invoke({"out": ""})

    assert [1] == till.ran("pay")


def test_a_callback_that_comes_after_the_node_starts_nothing(sidecar: Sidecar, till: Any, one: Any) -> None:
    future: Future[None] = Future()
    failed: list[BaseException] = []

    def late(_: Any) -> None:
        try:
            till.pay.invoke({"amount": 1})
        except Refusal as refusal:
            failed.append(refusal)

    graph = one(lambda state: future.add_done_callback(late))
    govern(graph, contracts={"n": Contract(tools=["pay"])}, sidecar=sidecar)
    graph.invoke({"out": ""})
    future.set_result(None)

    assert [Abandoned] == [type(one) for one in failed]
    assert [] == till.done


def test_a_thread_that_ran_a_callback_belongs_to_nobody_afterwards(sidecar: Sidecar, till: Any, one: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        go = threading.Event()
        future = pool.submit(go.wait, 5)
        graph = one(lambda state: future.add_done_callback(lambda _: None))
        govern(graph, contracts={"n": Contract()}, sidecar=sidecar)
        graph.invoke({"out": ""})
        go.set()
        pool.submit(till.pay.invoke, {"amount": 1}).result(5)

    assert [1] == till.ran("pay")


def test_work_of_async_nodes_in_threads_goes_on_as_before(sidecar: Sidecar, till: Any, one: Any) -> None:
    async def node(state: Any) -> Any:
        loop = asyncio.get_running_loop()
        await asyncio.wrap_future(completed_elsewhere())
        return {"out": await loop.run_in_executor(None, till.lookup.invoke, {"amount": 1})}

    graph = govern(one(node), contracts={"n": Contract(tools=["lookup"])}, sidecar=sidecar)

    assert "lookup 1" == asyncio.run(graph.ainvoke({"out": ""}))["out"]
