"""Past the gates: what a gate would stop does not get beside it, nor past a gate that is broken or unsure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Overwrite

from governance import Contract, Sidecar, Verdict, govern
from governance.errors import Refusal
from governance.gates import custom
from tests.attacks.answers import CONFIG, LOCAL, answer, asked
from tests.attacks.states import Ledgered, send


def no_lie(call: Any, update: Any) -> str | None:
    return "a lie" if "lie" in str(update) else None


@pytest.mark.parametrize("where", ["node", "router"])
def test_what_a_gate_would_stop_cannot_be_sent_beside_it(where: str, sidecar: Sidecar, thread: Any) -> None:
    """A gate judges what a node returns; nothing else of that node may reach the state."""

    def smuggle(state: Any, config: RunnableConfig) -> str:
        config["configurable"]["__pregel_send"]([("out", "lie")])
        return END

    builder = StateGraph(Ledgered)
    builder.add_node("n", (lambda s: send(("out", "lie"))) if where == "node" else (lambda s: {"number": 1.0}))
    builder.add_edge(START, "n")
    if where == "router":
        builder.add_conditional_edges("n", smuggle, [END])
    graph = govern(
        builder.compile(checkpointer=InMemorySaver()),
        contracts={"n": Contract(gates=[custom(no_lie, otherwise="halt")])},
        sidecar=sidecar,
    )

    with pytest.raises(Refusal):
        graph.invoke({"out": "true"}, thread)

    assert "true" == graph.get_state(thread).values["out"]


@pytest.mark.parametrize("value", [Overwrite(["hacked"]), 5], ids=["overwrite", "type"])
def test_a_router_sends_nothing_its_node_could_not_write(value: Any, sidecar: Sidecar) -> None:
    def smuggle(state: Any, config: RunnableConfig) -> str:
        config["configurable"]["__pregel_send"]([("log" if value != 5 else "out", value)])
        return END

    builder = StateGraph(Ledgered)
    builder.add_node("n", lambda s: {"number": 1.0})
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", smuggle, [END])
    graph = govern(builder.compile(), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"log": ["kept"]})


def test_a_gate_that_raises_has_not_passed_anything(sidecar: Sidecar, one: Any) -> None:
    def broken(call: Any, update: Any) -> Verdict:
        raise RuntimeError("no opinion")

    graph = govern(one(lambda s: {"out": "x"}), contracts={"n": Contract(gates=[broken])}, sidecar=sidecar)

    with pytest.raises(Refusal, match="no opinion"):
        graph.invoke({"out": ""})


@pytest.mark.parametrize("said", [None, True, "pass", "passed", 1])
def test_a_gate_that_answers_no_verdict_has_not_passed_anything(said: Any, sidecar: Sidecar, one: Any) -> None:
    """Truth is no verdict: a gate written for another library fails closed."""
    graph = govern(one(lambda s: {"out": "x"}), contracts={"n": Contract(gates=[lambda c, u: said])}, sidecar=sidecar)

    with pytest.raises(Exception):  # noqa: B017
        graph.invoke({"out": ""})


def test_nothing_a_refused_node_wrote_is_streamed(sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": "lie"}),
        contracts={"n": Contract(gates=[custom(no_lie, otherwise="halt")])},
        sidecar=sidecar,
    )
    streamed: list[Any] = []

    async def consume() -> None:
        modes = ["values", "updates", "tasks", "debug", "custom", "messages"]
        async for piece in graph.astream({"out": "true"}, stream_mode=modes):
            streamed.append(piece)

    with pytest.raises(Refusal):
        asyncio.run(consume())

    assert "lie" not in str(streamed).replace("a lie", "")


def test_a_gate_that_escalates_waits_for_a_person(sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": "x"}, checkpointer=InMemorySaver()),
        contracts={"n": Contract(gates=[lambda c, u: Verdict.escalate("unsure")])},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    assert "" == graph.get_state(CONFIG).values["out"]

    result = graph.invoke(answer(card), CONFIG)

    assert "x" == result["out"]
