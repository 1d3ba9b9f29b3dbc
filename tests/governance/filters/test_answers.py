"""A model that says something else each time says the same again on the way to an effect that has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from governance import Approval, Contract, Principal, Sidecar, SideEffect, Tool, Verdict, declares, govern, operator
from governance.errors import EffectInDoubt
from governance.plane import parked

MAY = {"*": Contract(tools=["pay"])}


class Fickle(BaseChatModel):
    """Says a higher number each time it is asked."""

    asked: list[int]

    @property
    def _llm_type(self) -> str:
        return "fickle"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.asked.append(len(self.asked))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(str(self.asked[-1])))])


class FickleStream(Fickle):
    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.asked.append(len(self.asked))
        for piece in ("1", str(self.asked[-1])):
            yield ChatGenerationChunk(message=AIMessageChunk(piece))


@pytest.fixture
def paid() -> list[int]:
    return []


@pytest.fixture
def pay(paid: list[int]) -> Any:
    @declares(SideEffect("external"))
    @tool
    def pay(amount: int) -> str:
        """Pays."""
        paid.append(amount)
        return f"paid {amount}"

    return pay


def test_a_resumed_node_pays_what_it_paid(one: Any, pay: Any, paid: list[int], sidecar: Sidecar, thread: Any) -> None:
    model = Fickle(asked=[])

    def node(state: Any) -> Any:
        found = pay.invoke({"amount": int(model.invoke("how much?").content)})
        return {"out": found + interrupt("?")}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts=MAY, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)

    assert "paid 0!" == graph.invoke(Command(resume="!"), thread)["out"]
    assert ([0], [0]) == (paid, model.asked)


def test_a_streamed_answer_is_said_again_too(
    one: Any, pay: Any, paid: list[int], sidecar: Sidecar, thread: Any
) -> None:
    model = FickleStream(asked=[])

    def node(state: Any) -> Any:
        said = "".join(piece.content for piece in model.stream("how much?"))
        return {"out": pay.invoke({"amount": int(said)}) + interrupt("?")}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts=MAY, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)

    assert "paid 10!" == graph.invoke(Command(resume="!"), thread)["out"]
    assert [10] == paid


def test_async_code_is_told_the_same_again(one: Any, pay: Any, paid: list[int], sidecar: Sidecar, thread: Any) -> None:
    model = Fickle(asked=[])

    async def node(state: Any) -> Any:
        answer = await model.ainvoke("how much?")
        return {"out": await pay.ainvoke({"amount": int(answer.content)}) + interrupt("?")}

    async def twice() -> Any:
        graph = govern(one(node, checkpointer=InMemorySaver()), contracts=MAY, sidecar=sidecar)
        await graph.ainvoke({"out": ""}, thread)
        return await graph.ainvoke(Command(resume="!"), thread)

    assert "paid 0!" == asyncio.run(twice())["out"]


def test_another_prompt_is_answered_anew(one: Any, pay: Any, sidecar: Sidecar, thread: Any) -> None:
    model, prompts = Fickle(asked=[]), iter(["how much?", "how much now?"])

    def node(state: Any) -> Any:
        model.invoke(next(prompts))
        pay.invoke({"amount": 5})
        return {"out": interrupt("?")}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts=MAY, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    graph.invoke(Command(resume="!"), thread)

    assert [0, 1] == model.asked


def test_what_a_person_has_settled_is_asked_for_again(one: Any, pay: Any, sidecar: Sidecar, thread: Any) -> None:
    """The prompt had changed, so the model asked for another amount; the person took it for the same payment."""
    model, prompts = Fickle(asked=[]), iter(["how much?", "how much now?", "how much now?"])

    def node(state: Any) -> Any:
        return {"out": pay.invoke({"amount": int(model.invoke(next(prompts)).content)}) + interrupt("?")}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts=MAY, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    with pytest.raises(EffectInDoubt):
        graph.invoke(Command(resume="!"), thread)
    (waits,) = parked.waiting(sidecar.control)
    parked.settle(sidecar.control, waits.id, "happened")

    assert "paid 0!" == graph.invoke(Command(resume="!"), thread)["out"]


def test_an_answer_that_no_effect_stands_on_is_not_said_again(one: Any, sidecar: Sidecar, thread: Any) -> None:
    model = Fickle(asked=[])
    graph = one(lambda state: {"out": model.invoke("?").content + interrupt("?")}, checkpointer=InMemorySaver())
    govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""}, thread)

    assert "1!" == graph.invoke(Command(resume="!"), thread)["out"]


def test_a_node_that_is_revised_asks_its_model_anew(one: Any, sidecar: Sidecar, thread: Any, line: Any) -> None:
    """An effect of an earlier node does not keep a later one from doing better."""
    model = Fickle(asked=[])

    @declares(SideEffect("write"))
    @tool
    def note() -> str:
        """Notes."""
        return "noted"

    def better(call: Any, update: Any) -> Verdict:
        return Verdict.passed() if update["other"] == "1" else Verdict.revise("say 1")

    graph = line(
        compiled={"checkpointer": InMemorySaver()},
        a=lambda state: {"out": note.invoke({})},
        b=lambda state: {"other": model.invoke("?").content},
    )
    contracts = {"a": Contract(tools=["note"]), "b": Contract(gates=[better], attempts=2)}

    assert "1" == govern(graph, contracts=contracts, sidecar=sidecar).invoke({"out": ""}, thread)["other"]


def test_what_a_person_saw_is_asked_for_again(
    one: Any, pay: Any, paid: list[int], sidecar: Sidecar, thread: Any
) -> None:
    model = Fickle(asked=[])

    def node(state: Any) -> Any:
        return {"out": pay.invoke({"amount": int(model.invoke("how much?").content)})}

    may = {"n": Contract(tools=[Tool("pay", approval=Approval())])}
    graph = govern(one(node, checkpointer=InMemorySaver()), contracts=may, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    (card,) = sidecar.approvals.cards()
    sidecar.approvals.decide(card.id, "approve", by=Principal("ann", "local"))

    assert "paid 0" == graph.invoke(None, thread)["out"]
    assert [0] == paid


def test_a_fork_before_the_effect_finds_it(line: Any, pay: Any, paid: list[int], sidecar: Sidecar, thread: Any) -> None:
    """The model was asked in a node before, and is asked again in the fork."""
    model = Fickle(asked=[])
    graph = line(
        compiled={"checkpointer": InMemorySaver()},
        asks=lambda state: {"other": model.invoke("how much?").content},
        pays=lambda state: {"out": pay.invoke({"amount": int(state["other"])})},
    )
    govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""}, thread)
    first = next(one for one in graph.get_state_history(thread) if one.next == ("asks",))
    with operator("ann", reason="look again"):
        graph.invoke(None, first.config)

    assert ([0], [0]) == (paid, model.asked)
