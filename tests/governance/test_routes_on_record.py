"""Where control went is on record wherever somebody decided it; a plain edge says nothing."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from typing_extensions import TypedDict

from governance import Contract, Sidecar, govern
from governance import operator as person
from governance.errors import ContractViolation
from governance.plane.explanation import explanations


class State(TypedDict, total=False):
    count: Annotated[int, operator.add]
    log: Annotated[list[str], operator.add]


def noting(name: str) -> Any:
    return lambda state: {"log": [name], "count": 1}


def graph_of(router: Any, ends: Any = None, **nodes: Any) -> Any:
    """Node a with a conditional edge, and nodes b and c it may lead to."""
    builder = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, nodes.get(name) or noting(name))
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", router, ends or ["a", "b", "c", END])
    return builder


@pytest.fixture(params=["observe", "enforce"])
def put(request: pytest.FixtureRequest, sidecar: Sidecar) -> Any:
    def under(builder: StateGraph[Any], **compiled: Any) -> Any:
        contracts = {"*": Contract()} if request.param == "enforce" else None
        return govern(builder.compile(**compiled), contracts=contracts, sidecar=sidecar)

    return under


def routes(rows: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(row.path, {k: v for k, v in row.body.items() if k != "execution"}) for row in rows("route")]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("b", {"to": ["b"]}),
        (["b", "c"], {"to": ["b", "c"]}),
        (END, {"to": [END]}),
        ([Send("b", {}), Send("b", {}), Send("c", {})], {"sent": {"b": 2, "c": 1}}),
        ([Send("b", {}), "c"], {"to": ["c"], "sent": {"b": 1}}),
        ([], {"to": []}),
    ],
)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_an_edge_decided_is_told_once(put: Any, rows: Any, mode: str, chosen: Any, expected: Any) -> None:
    graph = put(graph_of(lambda state: chosen))
    graph.invoke({"count": 0}) if mode == "sync" else asyncio.run(graph.ainvoke({"count": 0}))

    assert [("a#1", expected)] == routes(rows)


def test_a_name_that_stands_for_a_node_is_told_as_the_node(put: Any, rows: Any) -> None:
    put(graph_of(lambda state: True, {True: "b", False: "c"})).invoke({"count": 0})

    assert [("a#1", {"to": ["b"]})] == routes(rows)


def test_a_loop_is_told_each_time_around(put: Any, rows: Any) -> None:
    put(graph_of(lambda state: "a" if state["count"] < 3 else END)).invoke({"count": 0})

    assert [("a#1", ["a"]), ("a#2", ["a"]), ("a#3", [END])] == [(path, body["to"]) for path, body in routes(rows)]


def test_plain_edges_and_commands_make_no_event_of_their_own(put: Any, rows: Any, line: Any) -> None:
    """What a `Command` says stands in the row of its node."""
    builder = StateGraph(State)
    builder.add_node("a", lambda state: Command(goto="b"), destinations=("b",))
    builder.add_node("b", noting("b"))
    builder.add_node("c", noting("c"))
    builder.add_edge(START, "a")
    builder.add_edge("b", "c")
    put(builder).invoke({"count": 0})

    assert [] == routes(rows)
    assert ["b"] == next(row.body["to"] for row in rows("node.ended") if row.actor == "a")


def test_beside_a_plain_edge_only_what_was_decided_is_told(put: Any, rows: Any) -> None:
    builder = graph_of(lambda state: "b")
    builder.add_edge("a", "c")
    put(builder).invoke({"count": 0})

    assert [("a#1", {"to": ["b"]})] == routes(rows)


def test_the_edge_that_picks_the_first_node_is_told(put: Any, rows: Any) -> None:
    builder = StateGraph(State)
    builder.add_node("a", noting("a"))
    builder.add_node("b", noting("b"))
    builder.add_conditional_edges(START, lambda state: "b", ["a", "b"])
    put(builder).invoke({"count": 0})

    assert [{"to": ["b"]}] == [body for _, body in routes(rows)]


def test_an_edge_inside_a_nested_graph_is_told_at_its_place(put: Any, rows: Any) -> None:
    inner = graph_of(lambda state: "b").compile()
    outer = StateGraph(State).add_node("team", inner).add_edge(START, "team")
    put(outer).invoke({"count": 0})

    assert [("team#1/0:a#1", {"to": ["b"]})] == routes(rows)


def test_a_route_that_is_refused_was_not_taken(sidecar: Sidecar, rows: Any) -> None:
    builder = StateGraph(State)
    for name in ("a", "b"):
        builder.add_node(name, noting(name))
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: "b")
    graph = govern(builder.compile(), contracts={"*": Contract(routes=["nowhere"])}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="sent control to 'b'"):
        graph.invoke({"count": 0})
    assert [] == routes(rows)


def test_an_operators_update_decides_nothing_for_a_session(put: Any, rows: Any, thread: Any) -> None:
    graph = put(graph_of(lambda state: "b"), checkpointer=InMemorySaver())
    graph.invoke({"count": 0}, thread)
    with person("ann", reason="typo"):
        graph.update_state(thread, {"count": 1}, as_node="a")

    assert ("b",) == graph.get_state(thread).next
    assert 1 == len(routes(rows))


def test_a_graph_that_nobody_governs_leaves_no_trace(sidecar: Sidecar, put: Any, rows: Any) -> None:
    put(graph_of(lambda state: "b"))
    graph_of(lambda state: "b").compile().invoke({"count": 0})

    assert [] == rows()


def test_a_decision_to_end_is_told_in_words(put: Any, rows: Any) -> None:
    put(graph_of(lambda state: [END])).invoke({"count": 0})
    found = [row._asdict() | {"ts": 0} for row in rows()]
    [told] = explanations(found, ["a#1"], lambda session, digest: None)

    assert "After a, the conditional edge ended here." in [fact.text for fact in told.facts]
