"""Nothing of what happens inside a node whose gates have yet to speak leaves by any stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.func import task

from governance import Contract, Sidecar, govern
from governance.errors import GateRefused
from governance.gates import custom

NEVER = custom(lambda call, update: "never", otherwise="halt")
ALWAYS = custom(lambda call, update: None)
MODES = ["values", "updates", "messages", "tasks", "debug", "checkpoints", "tools"]


@tool
def reveal() -> str:
    "Reveal."
    return "a secret"


def asks(state: Any) -> Any:
    model = GenericFakeChatModel(messages=iter([AIMessage("a secret of many words")]))
    return {"out": str(model.invoke("hi").content)}


def reveals(state: Any) -> Any:
    return {"out": reveal.invoke({})}


def says(state: Any) -> Any:
    return {"messages": [AIMessage("a secret")]}


async def drained(graph: Any, **options: Any) -> list[Any]:
    seen: list[Any] = []
    with pytest.raises(GateRefused):
        async for piece in graph.astream({"out": ""}, **options):
            seen.append(piece)
    return seen


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("node", [asks, reveals, says])
@pytest.mark.parametrize("mode", MODES)
def test_what_happens_inside_a_gated_graph_is_held(mode: str, node: Any, how: str, sidecar: Sidecar, line: Any) -> None:
    graph = line(agent=line(ask=node))
    contracts = {"agent": Contract(gates=[NEVER]), "agent/*": Contract(tools=["reveal"])}
    govern(graph, contracts=contracts, sidecar=sidecar)
    seen: list[Any] = []

    if how == "async":
        seen = asyncio.run(drained(graph, stream_mode=mode, subgraphs=True))
    else:
        with pytest.raises(GateRefused):
            for piece in graph.stream({"out": ""}, stream_mode=mode, subgraphs=True):
                seen.append(piece)

    assert "secret" not in str(seen)


def test_tokens_are_held_by_a_gate_two_graphs_above(sidecar: Sidecar, line: Any) -> None:
    graph = line(top=line(middle=line(ask=asks)))
    contracts = {"top": Contract(gates=[NEVER]), "top/*": Contract(gates=[ALWAYS], stream="mark")}
    govern(graph, contracts=contracts, sidecar=sidecar)

    seen = asyncio.run(drained(graph, stream_mode=["messages", "updates"], subgraphs=True))

    assert [] == seen


def test_tokens_of_a_task_of_a_gated_node_are_held(sidecar: Sidecar, one: Any) -> None:
    ask = task(lambda: asks({})["out"], name="ask")
    graph = one(lambda state: {"out": ask().result()})
    govern(graph, contracts={"n": Contract(gates=[NEVER]), "n/*": Contract()}, sidecar=sidecar)

    assert [] == asyncio.run(drained(graph, stream_mode="messages", subgraphs=True))


CHAIN = (
    ChatPromptTemplate.from_messages([("user", "{q}")]) | FakeListChatModel(responses=["secret"]) | StrOutputParser()
)


async def invokes(state: Any) -> Any:
    return {"out": await CHAIN.ainvoke({"q": "hi"})}


async def streams(state: Any) -> Any:
    return {"out": "".join([piece async for piece in CHAIN.astream({"q": "hi"})])}


def blocks(state: Any) -> Any:
    return {"out": CHAIN.invoke({"q": "hi"})}


PIPED = (lambda state: {"q": "hi"}) | CHAIN | (lambda text: {"out": text})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("node", [invokes, streams, blocks, PIPED])
def test_events_of_what_runs_inside_a_gated_node_are_held(node: Any, version: Any, sidecar: Sidecar, one: Any) -> None:
    graph = govern(one(node), contracts={"n": Contract(gates=[NEVER])}, sidecar=sidecar)
    seen: list[Any] = []

    async def watch() -> None:
        async for event in graph.astream_events({"out": ""}, version=version):
            seen.append((event["event"], event["name"], event["data"]))

    with pytest.raises(GateRefused):
        asyncio.run(watch())

    assert "secret" not in str(seen)


def test_what_a_gate_has_passed_leaves_as_before(sidecar: Sidecar, line: Any) -> None:
    graph = line(agent=line(ask=says))
    govern(graph, contracts={"agent": Contract(gates=[ALWAYS]), "agent/*": Contract()}, sidecar=sidecar)

    messages = [message for message, _ in graph.stream({"out": ""}, stream_mode="messages")]

    assert ["a secret"] == [message.content for message in messages]


def test_words_of_the_authors_own_still_leave_a_gated_graph(sidecar: Sidecar, line: Any) -> None:
    def node(state: Any) -> Any:
        get_stream_writer()("on my way")
        return {"out": "done"}

    graph = line(agent=line(work=node))
    govern(graph, contracts={"agent": Contract(gates=[ALWAYS]), "agent/*": Contract()}, sidecar=sidecar)

    pieces = list(graph.stream({"out": ""}, stream_mode=["custom", "updates"], subgraphs=True))

    assert ["on my way"] == [piece for _, mode, piece in pieces if mode == "custom"]
    assert [{"agent": {"out": "done"}}] == [
        {"agent": {"out": piece["agent"]["out"]}} for _, mode, piece in pieces if mode == "updates"
    ]


def test_a_graph_that_a_node_streams_by_itself_streams_to_that_node(sidecar: Sidecar, line: Any) -> None:
    seen: list[Any] = []

    def node(state: Any) -> Any:
        seen.extend(child.stream({"out": ""}, stream_mode="updates"))
        return {"out": "done"}

    child = line(ask=lambda s: {"out": "inside"})
    graph = line(agent=node)
    govern(graph, contracts={"agent": Contract(gates=[ALWAYS]), "agent/*": Contract()}, sidecar=sidecar)

    graph.invoke({"out": ""})

    assert [{"ask": {"out": "inside"}}] == seen
