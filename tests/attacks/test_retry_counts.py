"""Attempts are counted right, whoever makes them: threads, tasks, groups of errors, errors of somebody else."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.types import RetryPolicy

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import RetriesExhausted
from governance.plane.requests import Request
from governance.testing.models import ScriptedChatModel
from tests.fixtures import calling

READ = SideEffect("read")
ALWAYS = RetryPolicy(max_attempts=9, initial_interval=0, jitter=False, retry_on=lambda error: True)


@pytest.fixture
def by(tmp_path: Path, sidecar: Sidecar, one: Any) -> Callable[..., Any]:
    """Governs a graph of one node by rules about retries."""

    def make(node: Any, contract: Contract | None = None, options: Any = None, filters: Any = (), **values: Any) -> Any:
        path = tmp_path / "sidecar.toml"
        given = {"wait": 0.001, "burst": 999, **values}
        path.write_text("[retries]\n" + "".join(f"{key} = {value!r}\n" for key, value in given.items()))
        contracts = {"n": contract or Contract(tools=["look"]), "n/*": Contract(tools=["look"])}
        return govern(one(node, options=options), contracts=contracts, policy=path, sidecar=sidecar, filters=filters)

    return make


class Shop:
    """A tool that always fails, and counts."""

    def __init__(self, effect: SideEffect | None = None, error: Callable[[], Exception] = ConnectionError) -> None:
        self.calls = 0
        self.now: Callable[[], None] = lambda: None

        def look() -> str:
            self.calls += 1
            self.now()
            raise error()

        async def alook() -> str:
            await asyncio.sleep(0)
            return look()

        made = StructuredTool.from_function(look, coroutine=alook, name="look", description="Looks.")
        self.tool: BaseTool = made if effect is None else declares(effect)(made)


def quiet(tool: BaseTool) -> None:
    try:
        tool.invoke({})
    except Exception:
        pass


async def aquiet(tool: BaseTool) -> None:
    try:
        await tool.ainvoke({})
    except Exception:
        pass


def test_many_threads_of_a_node_have_one_more_try_between_them(by: Any) -> None:
    """It failed twice and may be tried three times: ten threads that come at once are not ten more tries."""
    shop, together = Shop(), threading.Barrier(10)

    def late() -> None:
        together.wait(10)
        quiet(shop.tool)

    def node(state: Any) -> Any:
        quiet(shop.tool)
        quiet(shop.tool)
        shop.now = lambda: threading.Event().wait(0.1)  # the first has not failed yet when the others ask
        with ThreadPoolExecutor(10) as pool:
            for one in [pool.submit(late) for _ in range(10)]:
                one.result()
        return {"out": "x"}

    by(node).invoke({"out": ""})

    assert 3 == shop.calls


@pytest.mark.parametrize("effect", [READ, None])
def test_many_tasks_of_a_node_have_one_more_try_between_them(effect: SideEffect | None, by: Any) -> None:
    shop = Shop(effect)

    async def node(state: Any) -> Any:
        await asyncio.gather(*(aquiet(shop.tool) for _ in range(10)))
        first = shop.calls
        await asyncio.gather(*(aquiet(shop.tool) for _ in range(10)))
        return {"out": str(first)}

    first = int(asyncio.run(by(node).ainvoke({"out": ""}))["out"])

    assert 10 <= first <= 10 + 2
    assert first == shop.calls


def test_a_try_that_was_not_made_is_not_counted(by: Any) -> None:
    """Another refusal stood in its way; the next one may still be made."""
    shop, gone = Shop(), [0]

    def closed(call: Any) -> Any:
        gone[0] += 1
        if gone[0] == 2:
            raise RetriesExhausted("not now")
        return None

    closed.at = "tool"  # type: ignore[attr-defined]

    def node(state: Any) -> Any:
        for _ in range(9):
            quiet(shop.tool)
        return {"out": "x"}

    by(node, filters=[closed]).invoke({"out": ""})

    assert 3 == shop.calls


@pytest.mark.parametrize("nested", [False, True])
def test_a_group_of_errors_tells_of_the_failures_in_it(nested: bool, by: Any) -> None:
    """A task group wraps what its tasks raise; the layers above are to count the tries of those."""
    shop = Shop(READ)

    async def node(state: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(inner() if nested else shop.tool.ainvoke({}))

    async def inner() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(shop.tool.ainvoke({}))

    runs: list[int] = []

    async def counted(state: Any) -> Any:
        runs.append(1)
        await node(state)

    with pytest.raises(BaseExceptionGroup):
        asyncio.run(by(counted, options={"retry_policy": ALWAYS}).ainvoke({"out": ""}))

    assert (3, 1) == (shop.calls, len(runs))


def test_a_tool_that_fails_with_a_group_is_tried_again(by: Any) -> None:
    """All that is in the group may pass by itself."""
    shop = Shop(READ, lambda: ExceptionGroup("both", [ConnectionError(), TimeoutError()]))
    with pytest.raises(ExceptionGroup):
        by(lambda state: shop.tool.invoke({})).invoke({"out": ""})
    mixed = Shop(READ, lambda: ExceptionGroup("both", [ConnectionError(), ValueError()]))
    with pytest.raises(ExceptionGroup):
        by(lambda state: mixed.tool.invoke({})).invoke({"out": ""})

    assert (3, 1) == (shop.calls, mixed.calls)


def test_an_error_that_somebody_else_had_is_judged_by_who_raises_it_now(by: Any, one: Any, sidecar: Sidecar) -> None:
    """Kept from an earlier request that had used up its tries, and raised where nothing is set about retries."""
    shop, kept, runs = Shop(READ), list[Exception](), list[int]()

    def first(state: Any) -> Any:
        try:
            shop.tool.invoke({})
        except Exception as error:
            kept.append(error)
        return {"out": "x"}

    def second(state: Any) -> Any:
        runs.append(1)
        raise kept[0]

    by(first).invoke({"out": ""})
    policy = RetryPolicy(max_attempts=4, initial_interval=0, jitter=False)
    graph = govern(one(second, options={"retry_policy": policy}), contracts={"n": Contract()}, sidecar=sidecar)
    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""})

    assert 4 == len(runs)


def test_a_tool_that_can_look_it_up_is_tried_again_by_a_middleware(tmp_path: Path, sidecar: Sidecar) -> None:
    """It failed half-way, and its own books say that nothing happened: then a repeat is no repeat."""
    calls: list[int] = []

    def order() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("weather")
        return "ordered"

    effect = SideEffect("write", reconcile=lambda args: None)
    tool = declares(effect)(StructuredTool.from_function(order, name="order", description="Orders."))
    middleware: Any = [ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False, on_failure="error")]
    graph = create_agent(ScriptedChatModel([calling(("order", {})), "done"]), [tool], middleware=middleware)
    (tmp_path / "sidecar.toml").write_text("[retries]\nwait = 0.001\n")
    govern(graph, contracts={"*": Contract(tools=["order"])}, policy=tmp_path / "sidecar.toml", sidecar=sidecar)

    assert "done" == graph.invoke({"messages": [("user", "hello")]})["messages"][-1].content
    assert 2 == len(calls)


def test_nothing_is_kept_of_requests_that_are_over(by: Any, sidecar: Sidecar) -> None:
    """Each session fails, is tried again, and fails for good."""
    before = requests_alive()  # of tests that ran before, whatever still holds them
    shop = Shop(READ)
    graph = by(lambda state: shop.tool.invoke({}), options={"retry_policy": ALWAYS})
    for number in range(300):
        with pytest.raises(ConnectionError):
            graph.invoke({"out": ""}, {"configurable": {"thread_id": str(number)}})

    assert requests_alive() <= before
    assert not any(sidecar.sessions.get(str(number)).requests for number in range(300))


def requests_alive() -> int:
    gc.collect()
    return sum(isinstance(one, Request) for one in gc.get_objects())
