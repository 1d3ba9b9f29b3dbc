"""Calling tools: by any method, from other tools, under other names, it is judged and on record."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from governance import Contract, Sidecar, Tool, at_most, govern
from governance.errors import AuthorityRefused, Refusal
from tests.fixtures import calling

CALLS: dict[str, Callable[[BaseTool, dict[str, Any]], Any]] = {
    "invoke": lambda t, a: t.invoke(a),
    "tool call": lambda t, a: t.invoke({"type": "tool_call", "id": "c1", "name": "lookup", "args": a}),
    "run": lambda t, a: t.run(a),
    "batch": lambda t, a: t.batch([a]),
    "batch as completed": lambda t, a: list(t.batch_as_completed([a])),
    "stream": lambda t, a: list(t.stream(a)),
    "transform": lambda t, a: list(t.transform(iter([a]))),
    "bound": lambda t, a: t.with_config(tags=["x"]).invoke(a),
    "retry": lambda t, a: t.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke(a),
    "fallback": lambda t, a: t.with_fallbacks([t]).invoke(a),
    "mapped": lambda t, a: t.map().invoke([a]),
    "piped": lambda t, a: (t | (lambda x: x)).invoke(a),
}
ASYNC_CALLS: dict[str, Callable[[BaseTool, dict[str, Any]], Any]] = {
    "ainvoke": lambda t, a: t.ainvoke(a),
    "arun": lambda t, a: t.arun(a),
    "abatch": lambda t, a: t.abatch([a]),
    "astream": lambda t, a: _drained(t.astream(a)),
    "tool call": lambda t, a: t.ainvoke({"type": "tool_call", "id": "c1", "name": "lookup", "args": a}),
    "to_thread": lambda t, a: asyncio.to_thread(t.invoke, a),
}


async def _drained(pieces: Any) -> Any:
    return [piece async for piece in pieces]


@pytest.mark.parametrize("how", list(CALLS))
def test_no_way_of_calling_a_tool_passes_the_allowlist(how: str, sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": str(CALLS[how](till.pay, {"amount": 1}))}),
        contracts={"n": Contract(tools=["lookup"])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("how", list(ASYNC_CALLS))
def test_no_async_way_of_calling_a_tool_passes_the_allowlist(how: str, sidecar: Sidecar, till: Any, one: Any) -> None:
    async def node(state: Any) -> Any:
        return {"out": str(await ASYNC_CALLS[how](till.pay, {"amount": 1}))}

    graph = govern(one(node), contracts={"n": Contract(tools=["lookup"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done


@pytest.mark.parametrize("how", list(CALLS))
def test_every_way_of_calling_a_tool_is_on_record_once(
    how: str, sidecar: Sidecar, till: Any, one: Any, rows: Any
) -> None:
    graph = govern(
        one(lambda s: {"out": str(CALLS[how](till.pay, {"amount": 1}))}),
        contracts={"n": Contract(tools=["pay"])},
        sidecar=sidecar,
    )

    graph.invoke({"out": ""})

    assert [("pay", {"amount": 1})] == [(r.actor, r.body["args"]) for r in rows() if r.kind == "tool.ended"]


def test_a_tool_that_calls_another_tool_stays_inside(sidecar: Sidecar, till: Any, one: Any) -> None:
    @tool
    def helper() -> str:
        """Help."""
        return str(till.pay.invoke({"amount": 1}))

    graph = govern(
        one(lambda s: {"out": helper.invoke({})}), contracts={"n": Contract(tools=["helper"])}, sidecar=sidecar
    )

    with pytest.raises(AuthorityRefused, match="pay"):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_tool_that_calls_itself_is_judged_each_time(mode: str, sidecar: Sidecar, one: Any) -> None:
    done: list[int] = []

    def run(amount: int) -> str:
        done.append(amount)
        return "paid" if amount > 50 else str(pay.invoke({"amount": 5000}))

    async def arun(amount: int) -> str:
        done.append(amount)
        return "paid" if amount > 50 else str(await pay.ainvoke({"amount": 5000}))

    pay = StructuredTool.from_function(run, coroutine=arun, name="pay", description="pay")

    async def anode(state: Any) -> Any:
        return {"out": await pay.ainvoke({"amount": 1})}

    contract = Contract(tools=[Tool("pay", where={"amount": at_most(50)})])
    node = anode if mode == "async" else (lambda s: {"out": pay.invoke({"amount": 1})})
    graph = govern(one(node), contracts={"n": contract}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [1] == done


def test_a_tool_that_runs_a_graph_that_calls_the_tool_again_is_judged_each_time(sidecar: Sidecar, one: Any) -> None:
    done: list[int] = []

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        done.append(amount)
        return "paid" if amount > 50 else str(one(lambda s: {"out": pay.invoke({"amount": 5000})}).invoke({"out": ""}))

    contract = Contract(tools=[Tool("pay", where={"amount": at_most(50)})])
    graph = govern(one(lambda s: {"out": pay.invoke({"amount": 1})}), contracts={"*": contract}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [1] == done


@pytest.mark.parametrize("method", ["run", "invoke", "ainvoke", "arun"])
def test_a_subclass_that_brings_its_own_entry_is_inside(method: str, sidecar: Sidecar, one: Any) -> None:
    """Also a class made after `govern`, as a node may make one."""
    done: list[int] = []
    graph_made: list[Any] = []

    def entry(self: Any, *args: Any, **kwargs: Any) -> str:
        done.append(1)
        return "paid"

    async def aentry(self: Any, *args: Any, **kwargs: Any) -> str:
        return entry(self)

    def _run(self: Any, amount: int = 1) -> str:
        return "paid"

    async def node(state: Any) -> Any:
        own = aentry if method.startswith("a") else entry
        kind: Any = type("Own", (BaseTool,), {"__module__": __name__, "__annotations__": {}, "_run": _run, method: own})
        sneaky = kind(name="sneaky", description="x")
        result = getattr(sneaky, method)({"amount": 1})
        return {"out": await result if method.startswith("a") else result}

    graph_made.append(govern(one(node), contracts={"n": Contract()}, sidecar=sidecar))

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph_made[0].ainvoke({"out": ""}))

    assert [] == done


def test_a_tool_has_no_name_apart_from_the_function_that_runs(sidecar: Sidecar, till: Any, one: Any, rows: Any) -> None:
    """Where name and function are given apart, `rm` runs under an allowed name; here the name is the tool's own."""
    till.pay.metadata = {"name": "lookup"}
    graph = govern(
        one(lambda s: {"out": till.pay.run({"amount": 1}, run_name="lookup", tags=["lookup"])}),
        contracts={"n": Contract(tools=["lookup"])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert ["pay"] == [row.actor for row in rows() if row.kind == "tool.refused"]


def test_a_tool_returning_a_command_sends_control_only_where_the_contract_says(sidecar: Sidecar) -> None:
    from langgraph.graph import START, MessagesState, StateGraph

    ran: list[str] = []

    @tool
    def jump() -> Any:
        """Jump."""
        return Command(goto="hidden")

    builder = StateGraph(MessagesState)
    builder.add_node("n", ToolNode([jump]))
    builder.add_node("hidden", lambda s: ran.append("hidden"))
    builder.add_edge(START, "n")
    graph = govern(builder.compile(), contracts={"*": Contract(tools=["jump"])}, sidecar=sidecar)

    with pytest.raises(Refusal, match="hidden"):
        graph.invoke({"messages": [calling(("jump", {}))]})

    assert [] == ran


def test_direct_calls_of_a_tools_function_are_documented_as_invisible(sidecar: Sidecar, till: Any, one: Any) -> None:
    """Plain Python inside a node is the node's own code: `.func` is a function call, and nothing tells it apart."""
    graph = govern(one(lambda s: {"out": till.pay.func(amount=1)}), contracts={"n": Contract()}, sidecar=sidecar)

    graph.invoke({"out": ""})

    assert [1] == till.ran("pay")


def test_callbacks_that_raise_are_not_what_stops_a_tool(sidecar: Sidecar, till: Any, one: Any) -> None:
    """A raising callback does not stop a run by default; the boundary does, whatever callbacks there are."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Quiet(BaseCallbackHandler):
        def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("a callback's veto")

    graph = govern(one(lambda s: {"out": till.pay.invoke({"amount": 1})}), contracts={"n": Contract()}, sidecar=sidecar)

    with warnings.catch_warnings(), pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""}, {"callbacks": [Quiet()]})

    assert [] == till.done
