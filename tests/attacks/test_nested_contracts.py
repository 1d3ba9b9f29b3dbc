"""A graph that was governed by itself keeps its own contracts inside another, unless that names the very place."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.types import CachePolicy

from governance import Contract, Sidecar, coverage, govern
from governance.errors import AuthorityRefused, DoorClosed, GateRefused, Refusal
from governance.gates import custom


class Small(TypedDict):
    other: str


OBSERVED = Contract.observe(reason="not yet looked at")
PAYING = Contract(tools=["pay"])
NEVER = Contract(tools=["pay"], gates=[custom(lambda call, update: "never", otherwise="halt")])


@pytest.fixture
def agent(sidecar: Sidecar, till: Any, line: Any) -> Any:
    """A graph under a contract of its own that lets it pay nothing."""
    return govern(
        line(act=lambda s: {"out": till.pay.invoke({"amount": 1})}), contracts={"act": Contract()}, sidecar=sidecar
    )


@pytest.mark.parametrize("rest", [OBSERVED, PAYING], ids=["observe", "wider"])
@pytest.mark.parametrize("pattern", ["*", "agent/*", "agent/a?t", "*/act"])
def test_a_pattern_does_not_loosen_a_graph_with_contracts_of_its_own(
    pattern: str, rest: Contract, agent: Any, sidecar: Sidecar, till: Any, line: Any
) -> None:
    graph = govern(line(agent=agent), contracts={"agent": Contract(), pattern: rest}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_node_that_is_only_observed_does_not_loosen_the_graph_that_it_is(
    agent: Any, sidecar: Sidecar, till: Any, line: Any
) -> None:
    graph = govern(line(agent=agent), contracts={"*": OBSERVED}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("contracts", [None, {"*": PAYING}, {"agent": Contract(), "agent/act": PAYING}])
def test_an_outer_graph_in_observe_mode_does_not_loosen_it(
    contracts: Any, agent: Any, sidecar: Sidecar, till: Any, line: Any
) -> None:
    graph = govern(line(agent=agent), contracts=contracts, mode="observe", sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("depth", [1, 2])
def test_it_keeps_them_at_every_depth(depth: int, agent: Any, sidecar: Sidecar, till: Any, line: Any) -> None:
    graph = agent
    for _ in range(depth):
        graph = line(agent=graph)
    govern(graph, contracts={"*": PAYING}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_it_keeps_them_when_a_node_calls_it_in_code(agent: Any, sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = govern(one(lambda s: agent.invoke({"out": ""})), contracts={"*": PAYING}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_what_is_nested_in_it_is_bound_by_its_contracts_too(sidecar: Sidecar, till: Any, line: Any) -> None:
    team = line(agent=line(act=lambda s: {"out": till.pay.invoke({"amount": 1})}))
    govern(team, contracts={"agent": Contract(), "agent/*": Contract()}, sidecar=sidecar)
    graph = govern(line(team=team), contracts={"*": PAYING}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_naming_the_very_place_replaces_its_contract(agent: Any, sidecar: Sidecar, till: Any, line: Any) -> None:
    graph = govern(line(agent=agent), contracts={"agent": Contract(), "agent/act": PAYING}, sidecar=sidecar)

    graph.invoke({"out": ""})

    assert [1] == till.ran("pay")


def test_a_stricter_contract_for_the_very_place_is_what_counts(sidecar: Sidecar, till: Any, line: Any) -> None:
    agent = govern(
        line(act=lambda s: {"out": till.pay.invoke({"amount": 1})}), contracts={"act": PAYING}, sidecar=sidecar
    )
    graph = govern(line(agent=agent), contracts={"agent": Contract(), "agent/act": NEVER}, sidecar=sidecar)

    with pytest.raises(GateRefused):
        graph.invoke({"out": ""})


def test_a_graph_that_was_only_observed_is_bound_by_the_pattern(sidecar: Sidecar, till: Any, line: Any) -> None:
    agent = govern(line(act=lambda s: {"out": till.pay.invoke({"amount": 1})}), sidecar=sidecar)
    graph = govern(line(agent=agent), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})


def test_no_cache_passes_the_contract_that_it_keeps(sidecar: Sidecar, line: Any) -> None:
    agent = govern(line(act=lambda s: {"out": "x"}), contracts={"act": Contract()}, sidecar=sidecar)
    agent.nodes["act"].cache_policy = CachePolicy()
    agent.cache = InMemoryCache()
    graph = govern(line(agent=agent), contracts={"*": OBSERVED}, sidecar=sidecar)

    with pytest.raises(DoorClosed, match="cached"):
        graph.invoke({"out": ""})


def test_the_pattern_is_not_held_against_its_state(sidecar: Sidecar, till: Any, line: Any) -> None:
    """A key that only the outer graph has would not fit the inner one; it need not."""
    agent = govern(line(Small, act=lambda s: {}), contracts={"act": Contract()}, sidecar=sidecar)

    govern(line(agent=agent), contracts={"*": Contract(writes=["out"])}, sidecar=sidecar)


def test_a_graph_that_runs_itself_is_bound_by_what_it_says_about_that(sidecar: Sidecar, till: Any, one: Any) -> None:
    made: list[Any] = []

    def again(state: Any) -> Any:
        if state["out"] == "deep":
            return {"out": till.pay.invoke({"amount": 1})}
        return made[0].invoke({"out": "deep"})

    made.append(govern(one(again), contracts={"n": PAYING, "n/*": Contract()}, sidecar=sidecar))

    with pytest.raises(AuthorityRefused):
        made[0].invoke({"out": ""})

    assert [] == till.done


def test_coverage_tells_whose_contract_binds(agent: Any, sidecar: Sidecar, line: Any) -> None:
    graph = govern(line(agent=agent), contracts={"*": OBSERVED}, sidecar=sidecar)

    assert {"agent": "observed", "agent/act": "enforce"} == {n.place: n.state for n in coverage(graph).nodes}


def test_a_graph_nested_twice_is_bound_by_each_place_that_names_it(
    agent: Any, sidecar: Sidecar, till: Any, line: Any
) -> None:
    contracts = {"*": OBSERVED, "first/act": PAYING}
    graph = govern(line(first=agent, second=agent), contracts=contracts, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [1] == till.ran("pay")
