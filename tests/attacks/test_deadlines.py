"""A deadline is kept by the clock, and the thread or task that it is kept in is no way out of the node."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.func import task

from governance import Contract, Flow, Proceed, Sidecar, govern
from governance.errors import DeadlineExceeded, Refusal

OUTSIDE = contextvars.copy_context()
CONTEXTS: dict[str, Callable[[], contextvars.Context]] = {"fresh": contextvars.Context, "older": OUTSIDE.copy}


def quiet(work: Callable[[], Any]) -> None:
    try:
        work()
    except Exception:
        pass


def block(seconds: float) -> None:
    time.sleep(seconds)


def run(graph: Any, node: Any) -> Any:
    if asyncio.iscoroutinefunction(node):
        return asyncio.run(graph.ainvoke({"out": ""}))
    return graph.invoke({"out": ""})


@pytest.mark.parametrize("context", list(CONTEXTS))
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_node_with_a_deadline_does_not_leave_through_another_context(
    mode: str, context: str, sidecar: Sidecar, till: Any, one: Any
) -> None:
    def pay() -> None:
        quiet(lambda: CONTEXTS[context]().run(till.pay.invoke, {"amount": 1}))

    async def apay(state: Any) -> None:
        pay()

    node = (lambda s: pay()) if mode == "sync" else apay
    graph = govern(one(node), contracts={"n": Contract(timeout=5)}, sidecar=sidecar)

    with pytest.raises(Refusal):
        run(graph, node)

    assert [] == till.done


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_task_with_a_deadline_does_not_leave_through_another_context(
    mode: str, sidecar: Sidecar, till: Any, one: Any
) -> None:
    def pay() -> None:
        quiet(lambda: contextvars.Context().run(till.pay.invoke, {"amount": 1}))

    @task(name="pay")
    def pays() -> None:
        pay()

    @task(name="pay")
    async def apays() -> None:
        pay()

    async def anode(state: Any) -> None:
        await apays()

    node = (lambda s: pays().result()) if mode == "sync" else anode
    contracts = {"n": Contract(tools=["pay"]), "n/pay": Contract(timeout=5)}
    graph = govern(one(node), contracts=contracts, sidecar=sidecar)

    with pytest.raises(Refusal):
        run(graph, node)

    assert [] == till.done


def test_a_deadline_of_your_own_around_a_tool_is_no_way_out_either(sidecar: Sidecar, till: Any, one: Any) -> None:
    def bounded(call: Any) -> Flow:
        return (yield Proceed(call, 5))

    bounded.at = "tool"  # type: ignore[attr-defined]
    look = till.tool("look")
    look.func = lambda amount=1: quiet(lambda: contextvars.Context().run(till.pay.invoke, {"amount": 1}))
    contracts = {"n": Contract(tools=["look"])}
    graph = govern(
        one(lambda s: {"out": str(look.invoke({"amount": 1}))}), contracts=contracts, filters=[bounded], sidecar=sidecar
    )

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_an_async_node_that_blocks_past_its_deadline_is_late(sidecar: Sidecar, one: Any) -> None:
    async def node(state: Any) -> Any:
        block(0.3)
        return {"out": "late"}

    graph = govern(one(node), contracts={"n": Contract(timeout=0.1)}, sidecar=sidecar)

    with pytest.raises(DeadlineExceeded):
        run(graph, node)


def test_an_async_node_that_fails_past_its_deadline_is_late(sidecar: Sidecar, one: Any) -> None:
    async def node(state: Any) -> Any:
        block(0.3)
        raise ValueError("too late to fail")

    graph = govern(one(node), contracts={"n": Contract(timeout=0.1)}, sidecar=sidecar)

    with pytest.raises(DeadlineExceeded):
        run(graph, node)


def test_a_node_in_time_is_not_late_because_another_blocks_the_loop(sidecar: Sidecar, line: Any) -> None:
    """It ended in time; that nobody could look at its result before is not its fault."""

    async def node(state: Any) -> Any:
        asyncio.get_running_loop().call_soon(block, 0.4)
        return {"out": "in time"}

    graph = govern(line(n=node), contracts={"n": Contract(timeout=0.2)}, sidecar=sidecar)

    assert "in time" == run(graph, node)["out"]


def test_nothing_stays_marked_when_a_deadline_is_over(sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = govern(one(lambda s: {"out": "x"}), contracts={"n": Contract(timeout=5)}, sidecar=sidecar)

    graph.invoke({"out": ""})

    assert "pay 1" == contextvars.Context().run(till.pay.invoke, {"amount": 1})
