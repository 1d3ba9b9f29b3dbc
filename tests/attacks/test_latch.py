"""The latch: a refusal that was swallowed, by whomever and however deep, still ends the node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt

from governance import Contract, Sidecar, Tool, at_most, govern
from governance.errors import AuthorityRefused
from tests.fixtures import calling


def test_a_swallowed_refusal_ends_the_node_all_the_same(sidecar: Sidecar, till: Any, one: Any) -> None:
    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            return {"out": "all is well"}

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)
    updates: list[Any] = []

    with pytest.raises(AuthorityRefused):
        for update in graph.stream({"out": ""}, stream_mode="updates"):
            updates.append(update)

    assert [] == updates


def test_after_a_swallowed_refusal_an_allowed_tool_does_not_start(sidecar: Sidecar, till: Any, one: Any) -> None:
    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            till.refund.invoke({"amount": 2})

    graph = govern(one(node), contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="pay"):
        graph.invoke({"out": ""})

    assert [] == till.done


def nested(one: Any, outer: Callable[[Any], Any], work: Callable[[], str]) -> Any:
    """`work` in a graph that the node of another graph invokes."""
    inner = one(lambda s: {"out": work()})
    return one(lambda s: {"out": str(outer(lambda: inner.invoke({"out": ""})))})


def tasked(one: Any, outer: Callable[[Any], Any], work: Callable[[], str]) -> Any:
    """`work` in a task that an entrypoint calls."""
    inner = task(work)

    @entrypoint()
    def flow(given: Any) -> str:
        return str(outer(lambda: inner().result()))

    return flow


@pytest.mark.parametrize("inside", [nested, tasked])
def test_after_a_swallowed_refusal_nothing_inside_acts(inside: Any, sidecar: Sidecar, till: Any, one: Any) -> None:
    """What lies inside has contracts and latches of its own, but it acts for the refused node."""

    def work() -> str:
        return str(till.refund.invoke({"amount": 2}))

    def outer(go_on: Any) -> Any:
        with suppress(Exception):
            till.pay.invoke({"amount": 1})
        return go_on()

    graph = govern(inside(one, outer, work), contracts={"*": Contract(tools=["refund"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("inside", [nested, tasked])
def test_a_refusal_inside_cannot_be_swallowed_outside(inside: Any, sidecar: Sidecar, till: Any, one: Any) -> None:
    def work() -> str:
        return str(till.pay.invoke({"amount": 1}))

    def outer(go_on: Any) -> Any:
        try:
            return go_on()
        except Exception:
            return till.refund.invoke({"amount": 2})

    graph = govern(inside(one, outer, work), contracts={"*": Contract(tools=["refund"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_tool_node_that_handles_errors_goes_on_with_nothing(mode: str, sidecar: Sidecar, till: Any, one: Any) -> None:
    """A refused call and its parallel sibling: the sibling may have begun, the update never lands."""
    asked = calling(("pay", {"amount": 1}))
    graph = govern(
        one(ToolNode([till.pay, till.refund], handle_tool_errors=True)),
        contracts={"n": Contract(tools=["refund"])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"messages": [asked]}) if mode == "sync" else asyncio.run(graph.ainvoke({"messages": [asked]}))

    assert [] == till.done


def test_a_swallowed_refusal_does_not_hide_behind_an_interrupt(
    sidecar: Sidecar, till: Any, one: Any, thread: Any
) -> None:
    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            interrupt("go on?")

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""}, thread)


def test_a_refusal_answered_to_the_model_still_runs_nothing(sidecar: Sidecar, till: Any, one: Any, rows: Any) -> None:
    asked = calling(("pay", {"amount": 99}), ("lookup", {"amount": 1}))
    rule = Tool("pay", where={"amount": at_most(50)}, refusals="answer")
    graph = govern(
        one(ToolNode([till.pay, till.lookup])), contracts={"n": Contract(tools=[rule, "lookup"])}, sidecar=sidecar
    )

    messages = graph.invoke({"messages": [asked]})["messages"]

    assert [("lookup", 1)] == till.done
    assert "error" == messages[1].status
    assert 1 == sum(row.kind == "tool.answered" for row in rows())
