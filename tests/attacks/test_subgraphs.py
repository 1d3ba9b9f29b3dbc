"""Graphs inside nodes, in every place one can be kept: governed when they start, and never wider than their place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from governance import Contract, Sidecar, govern
from governance.errors import AuthorityRefused, ContractViolation, GovernanceError, Refusal


class Agent:
    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def __call__(self, state: Any) -> Any:
        return self.graph.invoke(state)

    def method(self, state: Any) -> Any:
        return self.graph.invoke(state)


def places(make: Callable[[], Any]) -> dict[str, Any]:
    """Nodes that keep a nested graph where discovery may or may not find it."""
    graph, registry = make(), {"a": make()}

    def helper(state: Any) -> Any:
        return graph.invoke(state)

    def pieces(state: Any) -> Any:
        return list(graph.stream(state, stream_mode="values"))[-1]

    @tool
    def delegate(out: str) -> Any:
        """Delegate."""
        return graph.invoke({"out": out})

    return {
        "node": graph,
        "closure": lambda s: graph.invoke(s),
        "dict": lambda s: registry["a"].invoke(s),
        "on the fly": lambda s: make().invoke(s),
        "object": Agent(graph),
        "method": Agent(graph).method,
        "helper": lambda s: helper(s),
        "tool": lambda s: delegate.invoke({"out": "x"}),
        "stream": pieces,
        "batch": lambda s: graph.batch([s])[0],
        "sequence": RunnableLambda(lambda s: s) | graph,
        "copy": lambda s: graph.copy().invoke(s),
        "configured": lambda s: graph.with_config(tags=["x"]).invoke(s),
        "version 2": lambda s: graph.invoke(s, version="v2").value,
        "own thread": lambda s: graph.invoke(s, {"configurable": {"thread_id": "other"}}),
        "own config": lambda s: graph.invoke(s, {"callbacks": [], "configurable": {}}),
    }


PLACES = (
    "node|closure|dict|on the fly|object|method|helper|tool|stream|batch|sequence|copy|configured|version 2|"
    "own thread|own config"
).split("|")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_nested_graph_is_governed_wherever_it_is_kept(
    mode: str, place: str, sidecar: Sidecar, till: Any, one: Any, rows: Any
) -> None:
    make = lambda: one(lambda s: {"out": till.pay.invoke({"amount": 1})})
    graph = govern(
        one(places(make)[place]),
        contracts={"n": Contract(tools=["pay", "delegate"]), "n/n": Contract()},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""}) if mode == "sync" else asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done
    assert 2 == sum(row.kind == "node.begun" for row in rows())


@pytest.mark.parametrize("place", PLACES)
def test_a_nested_graph_without_a_contract_does_not_run(place: str, sidecar: Sidecar, till: Any, one: Any) -> None:
    """Where discovery finds it, `govern` asks for the contract; elsewhere the run does."""
    make = lambda: one(lambda s: {"out": till.pay.invoke({"amount": 1})})

    with pytest.raises(GovernanceError, match="no contract"):
        graph = one(places(make)[place])
        govern(graph, contracts={"n": Contract(tools=["pay", "delegate"])}, sidecar=sidecar).invoke({"out": ""})

    assert [] == till.done


def test_an_observed_graph_inside_an_enforced_node_is_not_loosened_by_it(sidecar: Sidecar, till: Any, one: Any) -> None:
    """A graph that was governed without contracts brings no contracts, so it brings no leave either."""
    helper = govern(one(lambda s: {"out": till.pay.invoke({"amount": 1})}), sidecar=sidecar)
    graph = govern(one(Agent({"a": helper}["a"])), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_governing_one_parent_does_not_change_another(sidecar: Sidecar, till: Any, one: Any) -> None:
    """The same nested graph under two parents obeys each parent's contracts in turn."""
    shared = one(lambda s: {"out": till.pay.invoke({"amount": 1})})
    strict = govern(one(shared), contracts={"n": Contract(), "n/n": Contract()}, sidecar=sidecar)
    kind = govern(one(shared), contracts={"n": Contract(), "n/n": Contract(tools=["pay"])}, sidecar=sidecar)

    kind.invoke({"out": ""})
    with pytest.raises(AuthorityRefused):
        strict.invoke({"out": ""})

    assert [1] == till.ran("pay")


def test_a_stream_begun_outside_and_consumed_inside_acts_for_the_node(sidecar: Sidecar, till: Any, one: Any) -> None:
    started = one(lambda s: {"out": till.pay.invoke({"amount": 1})}).stream({"out": ""})
    graph = govern(one(lambda s: {"out": str(list({"s": started}["s"]))}), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_reads_bind_a_graph_that_is_a_node(sidecar: Sidecar, one: Any) -> None:
    seen: list[Any] = []
    graph = govern(
        one(one(lambda s: seen.append(s.get("secret")))),
        contracts={"n": Contract(reads=["out"]), "n/n": Contract()},
        sidecar=sidecar,
    )

    graph.invoke({"out": "a", "secret": "hunter2"})

    assert [None] == seen


def test_writes_bind_a_graph_that_is_a_node(sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(one(lambda s: {"secret": "x"})),
        contracts={"n": Contract(writes=["out"]), "n/n": Contract()},
        sidecar=sidecar,
    )

    with pytest.raises(ContractViolation, match="secret"):
        graph.invoke({"out": "a"})
