"""Work a node hands to threads, pools, loops and fresh contexts stays inside; work it leaves behind starts nothing."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest
from langchain_core.runnables.config import run_in_executor

from governance import Contract, Sidecar, govern
from governance.errors import Abandoned, AuthorityRefused, DeadlineExceeded, Refusal

OUTSIDE = contextvars.copy_context()
Work = Callable[[], Any]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads are older than any governed call."""
    with ThreadPoolExecutor(2) as made:
        list(made.map(int, range(4)))
        yield made


@pytest.fixture(scope="module")
def old_pool() -> Iterator[ThreadPool]:
    with ThreadPool(2) as made:
        yield made


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, older than any governed call."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, daemon=True)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


def joined(work: Work) -> None:
    thread = threading.Thread(target=quietly, args=(work,))
    thread.start()
    thread.join()


def quietly(work: Work) -> None:
    try:
        work()
    except Exception:
        pass


def bare_thread(work: Work) -> None:
    over = threading.Event()

    def run() -> None:
        quietly(work)
        over.set()

    _thread.start_new_thread(run, ())
    over.wait(5)


class Sub(threading.Thread):
    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

    def run(self) -> None:
        quietly(self.work)


def subclass(work: Work) -> None:
    thread = Sub(work)
    thread.start()
    thread.join()


def timer(work: Work) -> None:
    made = threading.Timer(0, quietly, (work,))
    made.start()
    made.join()


async def through_to_thread(work: Work) -> None:
    await asyncio.to_thread(work)


async def through_executor(work: Work) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)


async def through_callback(work: Work) -> None:
    done: Future[None] = Future()

    def run() -> None:
        quietly(work)
        done.set_result(None)

    asyncio.get_running_loop().call_soon(run)
    await asyncio.wrap_future(done)


WAYS: dict[str, Callable[[Work, Any, Any, Any], Any]] = {
    "thread": lambda work, pool, old, loop: joined(work),
    "thread in a thread": lambda work, pool, old, loop: joined(lambda: joined(work)),
    "thread subclass": lambda work, pool, old, loop: subclass(work),
    "timer": lambda work, pool, old, loop: timer(work),
    "bare thread": lambda work, pool, old, loop: bare_thread(work),
    "own pool": lambda work, pool, old, loop: ThreadPoolExecutor(1).submit(work).exception(),
    "older pool": lambda work, pool, old, loop: pool.submit(work).exception(),
    "older pool map": lambda work, pool, old, loop: list(pool.map(lambda _: work(), [1])),
    "older pool, older context": lambda work, pool, old, loop: pool.submit(OUTSIDE.copy().run, work).exception(),
    "multiprocessing threads": lambda work, pool, old, loop: old.apply(work),
    "multiprocessing threads, async": lambda work, pool, old, loop: old.apply_async(work).get(),
    "multiprocessing threads, map": lambda work, pool, old, loop: old.map(lambda _: work(), [1]),
    "pool in a thread": lambda work, pool, old, loop: joined(lambda: pool.submit(work).result()),
    "loop in a thread": lambda work, pool, old, loop: joined(lambda: asyncio.run(through_callback(work))),
    "to_thread in a loop in a thread": lambda work, pool, old, loop: joined(
        lambda: asyncio.run(through_to_thread(work))
    ),
    "executor in a loop in a thread": lambda work, pool, old, loop: joined(lambda: asyncio.run(through_executor(work))),
    "older loop": lambda work, pool, old, loop: asyncio.run_coroutine_threadsafe(through_callback(work), loop).result(
        5
    ),
    "older loop to_thread": lambda work, pool, old, loop: asyncio.run_coroutine_threadsafe(
        through_to_thread(work), loop
    ).result(5),
    "fresh context": lambda work, pool, old, loop: contextvars.Context().run(work),
    "older context": lambda work, pool, old, loop: OUTSIDE.copy().run(work),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_no_thread_pool_loop_or_context_leads_out_of_a_node(
    way: str, sidecar: Sidecar, till: Any, one: Any, rows: Any, pool: Any, old_pool: Any, loop: Any
) -> None:
    def node(state: Any) -> Any:
        quietly(lambda: WAYS[way](lambda: till.pay.invoke({"amount": 1}), pool, old_pool, loop))
        return {"out": "done"}

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done
    assert 1 == sum(row.kind in ("tool.refused", "connection.refused") for row in rows())


@pytest.mark.parametrize("way", ["to_thread", "executor", "langchain", "task", "gather", "callback", "older loop"])
def test_no_task_or_executor_leads_out_of_an_async_node(
    way: str, sidecar: Sidecar, till: Any, one: Any, loop: Any
) -> None:
    async def pay() -> None:
        await till.pay.ainvoke({"amount": 1})

    async def node(state: Any) -> Any:
        work = lambda: till.pay.invoke({"amount": 1})
        ways: dict[str, Callable[[], Any]] = {
            "to_thread": lambda: asyncio.to_thread(work),
            "executor": lambda: through_executor(work),
            "langchain": lambda: run_in_executor(None, work),
            "task": lambda: asyncio.create_task(pay()),
            "gather": lambda: asyncio.gather(pay(), pay(), return_exceptions=True),
            "callback": lambda: through_callback(work),
            "older loop": lambda: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(pay(), loop)),
        }
        try:
            await ways[way]()
        except Exception:
            pass
        return {"out": "done"}

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done


def test_an_async_node_does_not_leave_through_a_fresh_context(sidecar: Sidecar, till: Any, one: Any) -> None:
    async def node(state: Any) -> Any:
        try:
            contextvars.Context().run(till.pay.invoke, {"amount": 1})
        except Exception:
            pass

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done


def test_a_thread_left_behind_starts_nothing_once_its_node_is_over(
    sidecar: Sidecar, till: Any, one: Any, rows: Any
) -> None:
    over, failed = threading.Event(), []

    def later() -> None:
        over.wait(5)
        try:
            till.pay.invoke({"amount": 1})
        except Exception as error:
            failed.append(error)

    threads: list[threading.Thread] = []

    def node(state: Any) -> Any:
        threads.append(threading.Thread(target=later))
        threads[0].start()

    graph = govern(one(node), contracts={"n": Contract(tools=["pay"])}, sidecar=sidecar)
    graph.invoke({"out": ""})
    over.set()
    threads[0].join()

    assert [] == till.done
    assert isinstance(failed[0], Abandoned)
    assert 1 == sum(row.kind == "tool.refused" for row in rows())


@pytest.mark.parametrize("inside", ["node", "nested graph"])
def test_a_node_past_its_deadline_starts_no_effect(inside: str, sidecar: Sidecar, till: Any, one: Any) -> None:
    """A sync node cannot be interrupted; what it does afterwards is refused, also inside a graph it runs."""
    late, ended = threading.Event(), threading.Event()

    def slow(state: Any) -> Any:
        late.wait(5)
        try:
            till.pay.invoke({"amount": 1})
        finally:
            ended.set()

    inner = one(slow)
    node = slow if inside == "node" else (lambda s: inner.invoke({"out": ""}))
    contracts = {"n": Contract(tools=["pay"], timeout=0.05), "n/n": Contract(tools=["pay"])}
    graph = govern(one(node), contracts=contracts, sidecar=sidecar)

    with pytest.raises(DeadlineExceeded):
        graph.invoke({"out": ""})
    late.set()
    ended.wait(5)

    assert [] == till.done


def test_an_async_node_that_swallows_its_cancellation_starts_no_effect(sidecar: Sidecar, till: Any, one: Any) -> None:
    async def stubborn(state: Any) -> Any:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            pass
        await till.pay.ainvoke({"amount": 1})

    graph = govern(one(stubborn), contracts={"n": Contract(tools=["pay"], timeout=0.05)}, sidecar=sidecar)

    async def run() -> None:
        with pytest.raises(DeadlineExceeded):
            await graph.ainvoke({"out": ""})
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(run())

    assert [] == till.done


def test_a_write_of_an_abandoned_node_does_not_land(sidecar: Sidecar, one: Any) -> None:
    from langgraph.config import get_config

    late, ended, errors = threading.Event(), threading.Event(), []

    def slow(state: Any) -> Any:
        config = get_config()
        late.wait(5)
        try:
            config["configurable"]["__pregel_send"]([("out", "late")])
        except Exception as error:
            errors.append(error)
        ended.set()

    graph = govern(one(slow), contracts={"n": Contract(timeout=0.05)}, sidecar=sidecar)

    with pytest.raises(DeadlineExceeded):
        graph.invoke({"out": ""})
    late.set()
    ended.wait(5)

    assert isinstance(errors[0], Refusal)


def test_many_threads_and_loops_at_once_keep_to_their_own_contracts(
    sidecar: Sidecar, till: Any, one: Any, rows: Any
) -> None:
    graph = govern(
        one(lambda s: {"out": till.lookup.invoke({"amount": s["amount"]})}),
        contracts={"n": Contract(tools=["lookup"])},
        sidecar=sidecar,
    )
    other = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": s["amount"]})}), contracts={"n": Contract()}, sidecar=sidecar
    )
    refused: list[int] = []

    def work(number: int) -> None:
        graph.invoke({"amount": number}) if number % 2 else asyncio.run(graph.ainvoke({"amount": number}))
        try:
            other.invoke({"amount": number})
        except AuthorityRefused:
            refused.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(32)))

    assert list(range(32)) == sorted(till.ran("lookup"))
    assert 32 == len(refused)
    assert [] == till.ran("pay")
