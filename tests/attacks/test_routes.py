"""Whom a node sends control to: nothing leads it to a node that no edge, or no rule, leads to."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send

from governance import Contract, Sidecar, govern
from governance.errors import Refusal
from tests.attacks.states import Ledgered, send


class Rooted(TypedDict, total=False):
    out: str


def routed(node: Any, state: Any, ran: list[str]) -> Any:
    """Nodes `n` and `next` are joined; `hidden` is in the graph and no edge leads there."""
    builder = StateGraph(state)
    builder.add_node("n", node)
    builder.add_node("next", lambda s: ran.append("next"))
    builder.add_node("hidden", lambda s: ran.append("hidden"))
    builder.add_edge(START, "n")
    builder.add_edge("n", "next")
    return builder.compile()


ROUTES: dict[str, Any] = {
    "goto": lambda: Command(goto="hidden"),
    "goto list": lambda: Command(goto=["next", "hidden"]),
    "goto send": lambda: Command(goto=Send("hidden", {})),
    "goto with update": lambda: Command(update={"out": "x"}, goto="hidden"),
    "sends in a list": lambda: [{"out": "x"}, Command(goto=[Send("hidden", {})])],
    "list": lambda: [{"out": "x"}, Command(goto="hidden")],
    "sent branch": lambda: send(("branch:to:hidden", None)),
    "sent task": lambda: send(("__pregel_tasks", Send("hidden", {}))),
}


@pytest.mark.parametrize("how", list(ROUTES))
def test_no_way_of_routing_reaches_a_node_no_edge_leads_to(how: str, sidecar: Sidecar) -> None:
    """A node that goes to the secret node by itself passes the gate that stands on the edge."""
    ran: list[str] = []
    graph = govern(routed(lambda s: ROUTES[how](), Rooted, ran), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert "hidden" not in ran


@pytest.mark.parametrize("how", ["goto", "goto send", "sent branch", "sent task"])
def test_a_state_without_keys_guards_its_routes_too(how: str, sidecar: Sidecar) -> None:
    """A graph over a plain list has no keys to own, but it has routes."""
    ran: list[str] = []
    state = Annotated[list[Any], operator.add]

    def node(given: Any) -> Any:
        return ROUTES[how]() or []

    builder: Any = StateGraph(state)
    builder.add_node("n", node)
    builder.add_node("next", lambda s: [])
    builder.add_node("hidden", lambda s: (ran.append("hidden"), [])[1])
    builder.add_edge(START, "n")
    builder.add_edge("n", "next")
    graph = govern(builder.compile(), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke([])

    assert [] == ran


@pytest.mark.parametrize("how", ["router", "sent branch", "sent task"])
def test_an_edge_that_may_lead_anywhere_is_bound_by_the_routes_of_the_contract(how: str, sidecar: Sidecar) -> None:
    ran: list[str] = []
    builder = StateGraph(Rooted)
    builder.add_node("n", lambda s: None if how == "router" else ROUTES[how]())
    builder.add_node("next", lambda s: ran.append("next"))
    builder.add_node("hidden", lambda s: ran.append("hidden"))
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", lambda s: "hidden" if how == "router" else "next")
    graph = govern(builder.compile(), contracts={"*": Contract(), "n": Contract(routes=["next"])}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert "hidden" not in ran


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("does", ["goto", "update"])
def test_a_command_to_the_parent_graph_is_judged_where_it_arrives(
    depth: int, does: str, sidecar: Sidecar, one: Any
) -> None:
    ran: list[str] = []

    def leave(state: Any) -> Any:
        given: dict[str, Any] = {"goto": "hidden"} if does == "goto" else {"update": {"secret": "x"}, "goto": "next"}
        return Command(graph=Command.PARENT, **given)

    inner = one(leave, Ledgered)
    if depth == 2:
        middle = StateGraph(Ledgered)
        middle.add_node("m", inner)
        middle.add_node("hidden", lambda s: ran.append("hidden"))
        middle.add_node("next", lambda s: ran.append("next"))
        middle.add_edge(START, "m")
        inner = middle.compile()
    graph = routed(inner, Ledgered, ran)
    govern(graph, contracts={"*": Contract(writes=["out"])}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert "hidden" not in ran


def test_a_command_to_the_parent_from_a_graph_called_in_code_is_judged_too(sidecar: Sidecar, one: Any) -> None:
    ran: list[str] = []
    inner = one(lambda s: Command(graph=Command.PARENT, goto="hidden"), Rooted)
    graph = govern(
        routed(lambda s: inner.invoke({"out": ""}), Rooted, ran), contracts={"*": Contract()}, sidecar=sidecar
    )

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == ran
