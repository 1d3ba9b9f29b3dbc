"""What a node writes, and what it reads: by return value, through the config, through the saver."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from langgraph.graph.message import push_message
from langgraph.types import Command, Overwrite, Send

from governance import Contract, Sidecar, govern
from governance.errors import ContractViolation, Refusal
from tests.attacks.states import Ledgered, Loosely, Strictly, send

WRITES: dict[str, Any] = {
    "dict": lambda: {"secret": "x"},
    "command": lambda: Command(update={"secret": "x"}),
    "pairs": lambda: Command(update=[("secret", "x")]),
    "list": lambda: [Command(update={"secret": "x"}), {"out": "y"}],
    "beside": lambda: {"out": "y", "secret": "x"},
    "overwrite": lambda: {"secret": Overwrite("x")},
    "none": lambda: {"secret": None},
    "sent": lambda: send(("secret", "x")),
    "sent with others": lambda: send(("out", "y"), ("secret", "x")),
}


@pytest.mark.parametrize("how", list(WRITES))
def test_no_way_of_writing_reaches_a_key_of_somebody_else(how: str, sidecar: Sidecar, one: Any, thread: Any) -> None:
    graph = govern(
        one(lambda s: WRITES[how](), Ledgered, checkpointer=InMemorySaver()),
        contracts={"n": Contract(writes=["out"])},
        sidecar=sidecar,
    )

    with pytest.raises(ContractViolation, match="secret"):
        graph.invoke({"out": "a"}, thread)

    assert "secret" not in graph.get_state(thread).values


@pytest.mark.parametrize("how", ["dict", "command", "pairs", "list"])
def test_a_key_the_state_does_not_have_is_refused_not_dropped(how: str, sidecar: Sidecar, one: Any) -> None:
    forms: dict[str, Any] = {
        "dict": {"otu": "typo"},
        "command": Command(update={"otu": "typo"}),
        "pairs": Command(update=[("otu", "typo")]),
        "list": [{"out": "x"}, {"otu": "typo"}],
    }
    graph = govern(one(lambda s: forms[how], Ledgered), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="otu"):
        graph.invoke({"out": "a"})


@pytest.mark.parametrize("state", [Ledgered, Strictly, Loosely])
def test_a_value_of_the_wrong_type_is_refused_in_every_form_of_state(state: Any, sidecar: Sidecar, one: Any) -> None:
    """LangGraph does not validate what a node returns, not even for a pydantic state."""
    graph = govern(one(lambda s: {"number": "foo"}, state), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="number"):
        graph.invoke({"number": 1.0})


@pytest.mark.parametrize("form", ["object", "dict"])
def test_nobody_throws_away_what_others_wrote(form: str, sidecar: Sidecar, line: Any, thread: Any) -> None:
    wiped: Any = Overwrite([]) if form == "object" else {"__overwrite__": []}
    graph = line(
        Ledgered, {"checkpointer": InMemorySaver()}, first=lambda s: {"log": ["kept"]}, n=lambda s: {"log": wiped}
    )
    govern(graph, contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="Overwrite"):
        graph.invoke({"log": []}, thread)

    assert ["kept"] == graph.get_state(thread).values["log"]


def test_an_overwrite_sent_past_the_return_value_is_refused(sidecar: Sidecar, one: Any) -> None:
    graph = govern(one(lambda s: send(("log", Overwrite([]))), Ledgered), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="Overwrite"):
        graph.invoke({"log": ["kept"]})


@pytest.mark.parametrize("channel", ["__error__", "__interrupt__", "__resume__", "__no_writes__", "__start__"])
def test_langgraphs_own_channels_are_not_a_nodes_to_write(channel: str, sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: send((channel, "x")), Ledgered), contracts={"n": Contract(waives=["types"])}, sidecar=sidecar
    )

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})


def test_a_message_pushed_past_the_return_value_needs_ownership(sidecar: Sidecar, one: Any) -> None:
    def node(state: Any) -> Any:
        push_message(AIMessage("pushed", id="1"))
        return {}

    graph = govern(one(node, Ledgered), contracts={"n": Contract(writes=["out"])}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="messages"):
        graph.invoke({"out": ""})


THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}
READS: dict[str, Any] = {
    "state": lambda state, graph: state["secret"],
    "langgraph": lambda state, graph: get_config()["configurable"]["__pregel_read"]("secret"),
    "langgraph fresh": lambda state, graph: get_config()["configurable"]["__pregel_read"](["secret"], True),
    "saver through the graph": lambda state, graph: graph.get_state(THREAD).values["secret"],
    "history": lambda state, graph: next(iter(graph.get_state_history(THREAD))).values["secret"],
}


@pytest.mark.parametrize("how", list(READS))
def test_no_way_of_reading_reaches_a_key_outside_the_contract(
    how: str, sidecar: Sidecar, line: Any, thread: Any
) -> None:
    seen: list[Any] = []
    made: list[Any] = []

    def node(state: Any) -> Any:
        seen.append(READS[how](state, made[0]))
        return {}

    graph = line(Ledgered, {"checkpointer": InMemorySaver()}, first=lambda s: {"secret": "hunter2"}, n=node)
    made.append(govern(graph, contracts={"first": Contract(), "n": Contract(reads=["out"])}, sidecar=sidecar))

    with pytest.raises((Refusal, KeyError)):
        graph.invoke({"out": "a"}, thread, durability="sync")

    assert [] == seen


def test_a_payload_sent_to_a_node_is_not_projected_away(sidecar: Sidecar) -> None:
    """A `Send` payload is no state: projecting it would empty it."""
    seen: list[Any] = []
    builder = StateGraph(Ledgered)
    builder.add_node("m", lambda s: {})
    builder.add_node("n", lambda s: seen.append(s["item"]))
    builder.add_edge(START, "m")
    builder.add_conditional_edges("m", lambda s: [Send("n", {"item": 1})], ["n"])
    graph = govern(builder.compile(), contracts={"*": Contract(reads=["out"])}, sidecar=sidecar)

    graph.invoke({"out": "a"})

    assert [1] == seen
