"""Reducers run between the nodes, where no contract holds: whatever they try to do there is refused."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from governance import Contract, Sidecar, govern, operator
from governance.errors import AuthorityRefused, Refusal

RUNS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda graph: graph.invoke({"out": ""}),
    "ainvoke": lambda graph: asyncio.run(graph.ainvoke({"out": ""})),
    "stream": lambda graph: list(graph.stream({"out": ""})),
    "a copy": lambda graph: graph.with_config(tags=["x"]).invoke({"out": ""}),
}


def state(reducer: Any) -> Any:
    return TypedDict("State", {"out": Annotated[str, reducer]})  # type: ignore[operator]


def graph_of(reducer: Any, node: Any = lambda s: {"out": "x"}, **compiled: Any) -> Any:
    return StateGraph(state(reducer)).add_node("n", node).add_edge(START, "n").compile(**compiled)


def once_written(work: Callable[[], Any]) -> Callable[[Any, Any], Any]:
    """A reducer that does something when the node's update comes in, and not at the input."""
    return lambda old, new: (old or "") + (str(work()) if new == "x" else new)


@pytest.mark.parametrize("run", list(RUNS))
def test_a_tool_in_a_reducer_is_refused(run: str, sidecar: Sidecar, till: Any, rows: Any) -> None:
    graph = graph_of(once_written(lambda: till.pay.invoke({"amount": 1})))
    govern(graph, contracts={"*": Contract(tools=["pay"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="a reducer of the state tried to act"):
        RUNS[run](graph)

    assert [] == till.done
    assert ["reducers#1>pay.0"] == [row.path for row in rows("tool.refused")]


def test_a_model_in_a_reducer_is_refused(sidecar: Sidecar, rows: Any) -> None:
    model = FakeListChatModel(responses=["a summary"])
    graph = graph_of(once_written(lambda: model.invoke("sum up").content))
    govern(graph, contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert ["model.refused"] == [row.kind for row in rows("model")]


def test_the_input_is_reduced_by_the_same_rules(sidecar: Sidecar, till: Any) -> None:
    graph = graph_of(lambda old, new: till.pay.invoke({"amount": 1}))
    govern(graph, contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_refusal_that_a_reducer_swallows_is_raised_after_it(sidecar: Sidecar, till: Any) -> None:
    def careless() -> str:
        try:
            return str(till.pay.invoke({"amount": 1}))
        except Refusal:
            return "never mind"

    graph = govern(graph_of(once_written(careless)), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})


def test_a_thread_that_a_reducer_starts_is_refused_too(sidecar: Sidecar, till: Any) -> None:
    def elsewhere() -> None:
        worker = threading.Thread(target=lambda: quiet(lambda: till.pay.invoke({"amount": 1})))
        worker.start()
        worker.join()

    graph = govern(graph_of(once_written(elsewhere)), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_reducer_connects_to_nothing(sidecar: Sidecar, rows: Any) -> None:
    graph = graph_of(once_written(lambda: socket.getaddrinfo("localhost", 80)))
    govern(graph, contracts={"n": Contract(hosts=["localhost"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert ["localhost"] == [row.body["target"] for row in rows("connection.refused")]


def test_a_reducer_of_a_nested_graph_acts_for_the_node_that_the_graph_is(
    sidecar: Sidecar, till: Any, line: Any
) -> None:
    child = graph_of(once_written(lambda: till.pay.invoke({"amount": 1})))
    graph = line(agent=child)
    govern(graph, contracts={"agent": Contract(), "agent/*": Contract(tools=["pay"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="agent may not call pay"):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_reducer_does_nothing_for_an_operator_either(
    mode: str, sidecar: Sidecar, till: Any, thread: dict[str, Any]
) -> None:
    graph = graph_of(once_written(lambda: till.pay.invoke({"amount": 1})), checkpointer=InMemorySaver())
    govern(graph, contracts={"n": Contract()}, sidecar=sidecar)

    with operator("alice", reason="a correction"), pytest.raises(AuthorityRefused):
        if mode == "sync":
            graph.update_state(thread, {"out": "x"}, as_node="n")
        else:
            asyncio.run(graph.aupdate_state(thread, {"out": "x"}, as_node="n"))

    assert [] == till.done


def test_what_a_reducer_does_is_on_record_in_observe_mode(sidecar: Sidecar, till: Any, rows: Any) -> None:
    graph = govern(graph_of(once_written(lambda: till.pay.invoke({"amount": 1}))), sidecar=sidecar)

    assert "pay 1" == graph.invoke({"out": ""})["out"]

    assert ["reducers#1>pay.0"] == [row.path for row in rows("tool.ended")]


def test_who_reads_a_stream_between_two_steps_is_outside(sidecar: Sidecar, till: Any) -> None:
    graph = govern(graph_of(lambda old, new: (old or "") + new), contracts={"n": Contract()}, sidecar=sidecar)

    for _ in graph.stream({"out": ""}, stream_mode=["values", "updates"]):
        till.pay.invoke({"amount": 1})

    assert {1} == set(till.ran("pay"))


def test_a_checkpointer_that_connects_somewhere_is_no_reducer(sidecar: Sidecar, thread: dict[str, Any]) -> None:
    class Remote(InMemorySaver):
        def put(self, *args: Any, **kwargs: Any) -> Any:
            socket.getaddrinfo("localhost", 80)
            return super().put(*args, **kwargs)

    graph = graph_of(lambda old, new: (old or "") + new, checkpointer=Remote())
    govern(graph, contracts={"n": Contract()}, sidecar=sidecar)

    assert "x" == graph.invoke({"out": ""}, thread)["out"]


def quiet(work: Callable[[], Any]) -> None:
    try:
        work()
    except Refusal:
        pass
