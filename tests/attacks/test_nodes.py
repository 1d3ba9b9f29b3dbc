"""Every shape a node can have, started every way LangGraph can start it: the contract holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from langgraph.func import entrypoint, task
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from governance import Contract, Sidecar, govern
from governance.errors import AuthorityRefused, ContractError, DoorClosed, Refusal
from tests.attacks.node_shapes import shapes, sync_shapes


@pytest.mark.parametrize("shape", list(shapes(None)))
def test_a_node_of_any_shape_pays_nothing_that_its_contract_does_not_name(
    shape: str, sidecar: Sidecar, till: Any, one: Callable[..., Any], rows: Any
) -> None:
    """Async callables, generators and LCEL sequences are inside the boundary as plain functions are."""
    graph = govern(one(shapes(till.pay)[shape]), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done
    assert ["node.begun", "tool.refused", "node.refused"] == list(dict.fromkeys(row.kind for row in rows()))


@pytest.mark.parametrize("shape", list(sync_shapes(None)))
def test_a_sync_node_pays_nothing_either_when_the_graph_is_invoked(
    shape: str, sidecar: Sidecar, till: Any, one: Callable[..., Any]
) -> None:
    """`invoke` takes another road through LangGraph than `ainvoke`."""
    graph = govern(one(shapes(till.pay)[shape]), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("shape", list(shapes(None)))
def test_a_node_of_any_shape_may_do_what_its_contract_names(
    shape: str, sidecar: Sidecar, till: Any, one: Callable[..., Any]
) -> None:
    """The refusals above come from the contract, not from a broken node."""
    graph = govern(one(shapes(till.pay)[shape]), contracts={"n": Contract(tools=["pay"])}, sidecar=sidecar)

    asyncio.run(graph.ainvoke({"out": ""}))

    assert [1] == till.ran("pay")


def test_a_compiled_graph_used_as_a_node_is_governed_inside(
    sidecar: Sidecar, till: Any, one: Callable[..., Any]
) -> None:
    inner = one(shapes(till.pay)["plain"])
    graph = govern(one(inner), contracts={"n": Contract(tools=["pay"]), "n/n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_node_without_a_contract_stops_govern_and_leaves_the_graph_alone(
    sidecar: Sidecar, one: Callable[..., Any]
) -> None:
    graph = one(lambda s: {"out": "x"})
    before = graph.nodes["n"].node

    with pytest.raises(ContractError):
        govern(graph, contracts={}, sidecar=sidecar)

    assert before is graph.nodes["n"].node


def test_a_node_attached_after_govern_never_runs(sidecar: Sidecar, one: Callable[..., Any]) -> None:
    ran: list[int] = []
    graph = govern(one(lambda s: {"out": "x"}), contracts={"*": Contract()}, sidecar=sidecar)
    graph.builder.add_node("late", lambda s: ran.append(1))
    graph.attach_node("late", graph.builder.nodes["late"])

    with pytest.raises(DoorClosed, match="late"):
        graph.invoke({"out": ""})

    assert [] == ran


@pytest.mark.parametrize("how", ["copy", "swap", "raw"])
def test_a_governed_node_cannot_be_exchanged_for_a_bare_one(how: str, sidecar: Sidecar, till: Any, line: Any) -> None:
    """`PregelNode.copy` drops what was put on the node; the graph notices before it runs."""
    graph = govern(line(first=lambda s: {}, n=shapes(till.pay)["plain"]), contracts={"*": Contract()}, sidecar=sidecar)
    node = graph.nodes["n"]
    if how == "copy":
        graph.nodes["n"] = node.copy({})
    elif how == "swap":
        graph.nodes["n"] = line(n=shapes(till.pay)["plain"]).nodes["n"]
    else:
        node.__dict__["node"] = node.bound

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_no_attribute_of_a_governed_method_hands_out_the_bare_one(sidecar: Sidecar, one: Callable[..., Any]) -> None:
    """`functools.wraps` leaves the original on `__wrapped__`, one attribute away from every node."""
    govern(one(lambda s: {}), contracts={"n": Contract()}, sidecar=sidecar)
    governed = [
        BaseTool.run,
        BaseTool.arun,
        BaseChatModel._generate_with_cache,
        BaseChatModel.stream,
        Pregel.stream,
        Pregel.astream,
        Pregel.bulk_update_state,
        Pregel.abulk_update_state,
    ]

    assert [] == [method.__qualname__ for method in governed if hasattr(method, "__wrapped__")]


@pytest.mark.parametrize("style", ["task", "entrypoint"])
def test_the_functional_api_is_inside(style: str, sidecar: Sidecar, till: Any) -> None:
    @task
    def work(amount: int) -> str:
        return str(till.pay.invoke({"amount": amount}))

    @entrypoint()
    def flow(amount: int) -> str:
        return work(amount).result() if style == "task" else str(till.pay.invoke({"amount": amount}))

    allowed, nothing = Contract(tools=["pay"]), Contract()
    contracts = {"flow": allowed, "flow/*": nothing} if style == "task" else {"flow": nothing, "flow/*": allowed}
    graph = govern(flow, contracts=contracts, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke(1)

    assert [] == till.done


@pytest.mark.parametrize("style", ["task", "entrypoint"])
def test_the_async_functional_api_is_inside(style: str, sidecar: Sidecar, till: Any) -> None:
    @task
    async def work(amount: int) -> str:
        return str(await till.pay.ainvoke({"amount": amount}))

    @entrypoint()
    async def flow(amount: int) -> str:
        return await work(amount) if style == "task" else str(await till.pay.ainvoke({"amount": amount}))

    allowed, nothing = Contract(tools=["pay"]), Contract()
    contracts = {"flow": allowed, "flow/*": nothing} if style == "task" else {"flow": nothing, "flow/*": allowed}
    graph = govern(flow, contracts=contracts, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke(1))

    assert [] == till.done


def test_a_tool_node_pays_nothing_its_contract_does_not_name(
    sidecar: Sidecar, till: Any, one: Callable[..., Any]
) -> None:
    asked = AIMessage("", tool_calls=[{"name": "pay", "args": {"amount": 1}, "id": "c1"}])
    graph = govern(
        one(ToolNode([till.pay, till.lookup], handle_tool_errors=True)),
        contracts={"n": Contract(tools=["lookup"])},
        sidecar=sidecar,
    )

    for run in (graph.invoke, lambda given: asyncio.run(graph.ainvoke(given))):
        with pytest.raises(AuthorityRefused):
            run({"messages": [asked]})

    assert [] == till.done
