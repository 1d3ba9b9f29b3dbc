"""What runs around a node, its edges, error handlers, sends and retries, acts under a contract too."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send

from governance import Contract, Sidecar, govern
from governance.errors import AuthorityRefused, ContractViolation, Refusal
from tests.attacks.node_shapes import Typed, shapes


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_conditional_edge_acts_under_the_contract_of_its_node(mode: str, sidecar: Sidecar, till: Any) -> None:
    def route(state: Any) -> str:
        till.pay.invoke({"amount": 1})
        return END

    builder = StateGraph(Typed)
    builder.add_node("n", lambda s: {"out": "x"})
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", route, [END])
    graph = govern(builder.compile(), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""}) if mode == "sync" else asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done


def test_a_conditional_edge_that_swallows_a_refusal_still_ends_the_run(sidecar: Sidecar, till: Any) -> None:
    def route(state: Any) -> str:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            pass
        return "next"

    ran: list[str] = []
    builder = StateGraph(Typed)
    builder.add_node("n", lambda s: {"out": "x"})
    builder.add_node("next", lambda s: ran.append("next"))
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", route, ["next"])
    graph = govern(builder.compile(), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == ran


def test_the_edge_that_chooses_the_first_node_pays_nothing(sidecar: Sidecar, till: Any, rows: Any) -> None:
    """A conditional edge from START runs before any node, and is no way around the contracts."""

    def route(state: Any) -> str:
        till.pay.invoke({"amount": 1})
        return "n"

    builder = StateGraph(Typed)
    builder.add_node("n", lambda s: {"out": "x"})
    builder.add_conditional_edges(START, route, ["n"])
    graph = govern(builder.compile(), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("where", ["node", "default"])
def test_an_error_handler_is_a_node_like_any_other(where: str, sidecar: Sidecar, till: Any) -> None:
    def bad(state: Any) -> Any:
        raise ValueError("boom")

    def handle(state: Any, error: Any = None) -> Any:
        till.pay.invoke({"amount": 1})
        return {"out": "handled"}

    builder = StateGraph(Typed)
    if where == "default":
        builder.set_node_defaults(error_handler=handle)
    builder.add_node("n", bad, **({"error_handler": handle} if where == "node" else {}))
    builder.add_edge(START, "n")
    graph = govern(builder.compile(), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("where", ["node", "default"])
@pytest.mark.parametrize("does", ["goto", "write"])
def test_an_error_handler_routes_and_writes_within_its_contract(where: str, does: str, sidecar: Sidecar) -> None:
    """The handler that `compile()` makes from the defaults is in no builder, yet it is checked."""
    ran: list[str] = []

    def bad(state: Any) -> Any:
        raise ValueError("boom")

    def handle(state: Any, error: Any = None) -> Any:
        return Command(goto="hidden") if does == "goto" else {"secret": "x"}

    builder = StateGraph(Typed)
    if where == "default":
        builder.set_node_defaults(error_handler=handle)
    builder.add_node("n", bad, **({"error_handler": handle} if where == "node" else {}))
    builder.add_node("hidden", lambda s: ran.append("hidden"))
    builder.add_edge(START, "n")
    graph = govern(builder.compile(), contracts={"*": Contract(writes=["out"])}, sidecar=sidecar)

    with pytest.raises(ContractViolation):
        graph.invoke({"out": ""})

    assert [] == ran


def test_a_node_sent_to_keeps_its_contract(sidecar: Sidecar, till: Any) -> None:
    """`Send` starts a node with a payload of its own; the contract of that node counts."""
    builder = StateGraph(Typed)
    builder.add_node("a", lambda s: {})
    builder.add_node("n", shapes(till.pay)["plain"])
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda s: [Send("n", {"out": "1"}), Send("n", {"out": "2"})], ["n"])
    graph = govern(builder.compile(), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_retry_policy_never_repeats_a_refusal(sidecar: Sidecar, till: Any, rows: Any) -> None:
    def node(state: Any) -> Any:
        till.pay.invoke({"amount": 1})

    builder = StateGraph(Typed)
    builder.add_node(
        "n", node, retry_policy=RetryPolicy(max_attempts=5, initial_interval=0, jitter=False, retry_on=Exception)
    )
    builder.add_edge(START, "n")
    graph = govern(builder.compile(), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert 1 == sum(row.kind == "node.begun" for row in rows())
