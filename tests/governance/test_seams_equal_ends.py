"""A governed graph pauses, resumes, fails and is cancelled as the bare one does, and nothing else is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import NodeTimeoutError
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from governance import Contract, Sidecar, Tool, govern, one_of
from governance.errors import AuthorityRefused
from tests.governance.shapes import State, agent, given, look, of_shape, plain, put


@pytest.fixture(params=["observe", "enforce", "strict"])
def governed(request: pytest.FixtureRequest, sidecar: Sidecar) -> Callable[[Any], Any]:
    return lambda graph: put(graph, request.param, sidecar)


def pausing() -> Any:
    def asks(state: Any) -> Any:
        return {"log": [interrupt("first"), interrupt("second")]}

    builder = StateGraph(State)
    builder.add_node("n", asks)
    builder.add_edge(START, "n")
    return builder.compile(checkpointer=InMemorySaver())


def test_interrupts_ask_in_order_and_resume_where_they_were(governed: Any, thread: Any) -> None:
    graph = governed(pausing())

    assert "first" == graph.invoke({"out": ""}, thread)["__interrupt__"][0].value
    assert "second" == graph.invoke(Command(resume="a"), thread)["__interrupt__"][0].value
    assert ["a", "b"] == graph.invoke(Command(resume="b"), thread)["log"]


def test_a_static_interrupt_stops_and_goes_on(governed: Any, thread: Any) -> None:
    graph = governed(of_shape(plain).copy({"checkpointer": InMemorySaver(), "interrupt_before_nodes": ["after"]}))
    graph.invoke({"out": "", "log": []}, thread)

    assert ("after",) == graph.get_state(thread).next
    assert ["plain", "after"] == graph.invoke(None, thread)["log"]


def test_a_node_that_fails_raises_its_own_error(governed: Any, line: Any) -> None:
    def fails(state: Any) -> Any:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        governed(line(n=fails)).invoke({"out": ""})


@pytest.mark.parametrize("style", ["sync", "async"])
def test_the_functional_api_gives_the_same_result(style: str, governed: Any) -> None:
    @task
    def double(x: int) -> int:
        return x * 2

    @entrypoint()
    def work(xs: list[int]) -> list[int]:
        return [future.result() for future in [double(x) for x in xs]]

    @entrypoint()
    async def awork(xs: list[int]) -> list[int]:
        return list(await asyncio.gather(*[double(x) for x in xs]))

    graph = governed(work if style == "sync" else awork)

    assert [2, 4, 6] == (graph.invoke([1, 2, 3]) if style == "sync" else asyncio.run(graph.ainvoke([1, 2, 3])))


def test_an_entrypoint_remembers_and_resumes(governed: Any, thread: Any) -> None:
    @task
    def ask(x: int) -> int:
        return x + interrupt("how much?")

    @entrypoint(checkpointer=InMemorySaver())
    def work(x: int, *, previous: Any = None) -> Any:
        return entrypoint.final(value=ask(x).result() + (previous or 0), save=x)

    graph = governed(work)
    first = graph.invoke(1, thread)["__interrupt__"][0].value

    assert "how much?" == first
    assert 11 == graph.invoke(Command(resume=10), thread)


def test_a_native_timeout_of_an_async_node_still_ends_it(governed: Any) -> None:
    async def slow(state: Any) -> Any:
        await asyncio.sleep(30)

    builder = StateGraph(State)
    builder.add_node("n", slow, timeout=0.05)
    builder.add_edge(START, "n")

    with pytest.raises(NodeTimeoutError):
        asyncio.run(governed(builder.compile()).ainvoke({"out": ""}))


def test_a_cancelled_run_cancels_its_node(governed: Any) -> None:
    seen: list[str] = []

    async def slow(state: Any) -> Any:
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def work() -> None:
        run = asyncio.create_task(governed(of_shape(slow)).ainvoke({"out": ""}))
        await started.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    started = asyncio.Event()
    asyncio.run(work())

    assert ["cancelled"] == seen


def test_a_graph_that_is_not_governed_stays_as_it_was(sidecar: Sidecar, rows: Any) -> None:
    """The patches are in this process, and do nothing outside a governed call."""
    govern(of_shape(plain), contracts={"*": Contract()}, sidecar=sidecar)
    bare = agent()
    answer = bare.invoke(given("agent"))["messages"][-1].content

    assert "done" == answer
    assert [] == rows()
    assert not (sidecar.ledger.path.parent / "control.db").exists()


def test_a_tool_outside_any_graph_is_nobodys_business(sidecar: Sidecar, rows: Any) -> None:
    govern(of_shape(plain), contracts={"*": Contract()}, sidecar=sidecar)

    assert "saw it" == look.invoke({"what": "it"})
    assert [] == rows()


def test_an_agent_may_be_held_to_single_arguments(sidecar: Sidecar) -> None:
    rule = Tool("look", where={"what": one_of("that")})
    graph = govern(agent(), contracts={"*": Contract(tools=[rule])}, sidecar=sidecar)

    with pytest.raises(
        AuthorityRefused, match=r"tools may not call look like this: what must be one of 'that', not 'it'"
    ):
        graph.invoke(given("agent"))
