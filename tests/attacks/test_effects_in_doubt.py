"""Effects of which nobody knows: one that happened is never taken for one that did not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import RetryPolicy
from pydantic import BaseModel, Field

from governance import Contract, Proceed, Sidecar, SideEffect, Verdict, declares, govern
from governance.errors import EffectInDoubt, GateRefused, Refusal
from tests.attacks.answers import CONFIG

PATIENT = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False, retry_on=Exception)
WRITE = SideEffect("write")
PAYING = {"n": Contract(tools=["charge"])}
CALL = {"type": "tool_call", "name": "charge", "id": "c", "args": {"amount": 5}}


class Receipt(BaseModel):
    number: int


def charging(then: Callable[[], Any], effect: SideEffect = WRITE, **options: Any) -> Any:
    """A tool that pays and then does something else, and what it paid."""
    paid: list[int] = []

    def charge(amount: int) -> str:
        """Charge the card."""
        paid.append(amount)
        return str(then())

    async def acharge(amount: int) -> str:
        return charge(amount)

    tool = StructuredTool.from_function(charge, coroutine=acharge, name="charge", **options)
    return declares(effect)(tool), paid


def wordy() -> Any:
    raise ToolException("the receipt timed out")


def twice(graph: Any) -> None:
    """A run that fails, and its resume."""
    for given in ({"out": ""}, None):
        with pytest.raises(Exception):  # noqa: B017
            graph.invoke(given, CONFIG)


AFTERWARDS: dict[str, Callable[[Any], Any]] = {
    "an answer that does not parse": lambda till: Receipt.model_validate({"number": "none"}),
    "a tool that the contract forbids": lambda till: till.pay.invoke({"amount": 1}),
    "a tool with arguments that do not fit": lambda till: till.lookup.invoke({"amount": "many"}),
    "a refusal of its own": lambda till: (_ for _ in ()).throw(Refusal("no")),
    "an error it words": lambda till: wordy(),
}


@pytest.mark.parametrize("how", list(AFTERWARDS))
def test_an_effect_that_fails_afterwards_is_not_made_again(how: str, sidecar: Sidecar, till: Any, one: Any) -> None:
    charge, paid = charging(lambda: AFTERWARDS[how](till))
    graph = one(
        lambda s: {"out": charge.invoke(CALL).content}, options={"retry_policy": PATIENT}, checkpointer=InMemorySaver()
    )
    govern(graph, contracts={"n": Contract(tools=["charge", "lookup"])}, sidecar=sidecar)
    twice(graph)

    assert [5] == paid


def test_an_async_effect_that_fails_afterwards_is_not_made_again(sidecar: Sidecar, one: Any) -> None:
    charge, paid = charging(lambda: Receipt.model_validate({"number": "none"}))

    async def node(state: Any) -> Any:
        return {"out": await charge.ainvoke({"amount": 5})}

    graph = one(node, options={"retry_policy": PATIENT})

    with pytest.raises(EffectInDoubt):
        asyncio.run(govern(graph, contracts=PAYING, sidecar=sidecar).ainvoke({"out": ""}))

    assert [5] == paid


HANDLED: dict[str, Any] = {"handle_tool_error": True, "handle_validation_error": True}


@pytest.mark.parametrize("how", ["an error it words", "an answer that does not parse"])
def test_an_error_that_a_tool_hands_over_as_its_answer_does_not_say_that_nothing_happened(
    how: str, sidecar: Sidecar, till: Any, one: Any, rows: Any
) -> None:
    charge, paid = charging(lambda: AFTERWARDS[how](till), **HANDLED)

    def node(state: Any) -> None:
        charge.invoke(CALL)
        raise ConnectionError("the node dies")

    twice(govern(one(node, checkpointer=InMemorySaver()), contracts=PAYING, sidecar=sidecar))

    assert [5] == paid
    assert ["effect.intent", "effect.unsettled", "effect.intent", "effect.parked"] == [
        row.kind for row in rows("effect.")
    ]


def test_a_tool_that_declines_by_an_error_is_tried_again(sidecar: Sidecar, one: Any) -> None:
    """It says of itself that its errors mean that nothing happened."""
    charge, tried = charging(wordy, SideEffect("write", declines=True), **HANDLED)

    def node(state: Any) -> Any:
        answer = charge.invoke(CALL)
        if len(tried) < 2:
            raise ConnectionError("the node dies")
        return {"out": answer.content}

    graph = one(node, options={"retry_policy": PATIENT})

    assert "the receipt timed out" == govern(graph, contracts=PAYING, sidecar=sidecar).invoke({"out": ""})["out"]
    assert [5, 5] == tried


@pytest.mark.parametrize("options", [{}, HANDLED], ids=["raised", "answered"])
def test_arguments_that_do_not_fit_leave_the_place_free(options: Any, sidecar: Sidecar, one: Any) -> None:
    charge, paid = charging(lambda: "paid", **options)
    amounts = iter(["many", 5])

    def node(state: Any) -> Any:
        answer = charge.invoke({**CALL, "args": {"amount": next(amounts)}})
        if answer.status == "error":
            raise ConnectionError("once more")
        return {"out": answer.content}

    graph = one(node, options={"retry_policy": PATIENT})
    govern(graph, contracts=PAYING, sidecar=sidecar).invoke({"out": ""})

    assert [5] == paid


class OwnEntry(BaseTool):
    """Its own way in pays before LangChain looks at the arguments."""

    name: str = "charge"
    description: str = "Charge."
    args_schema: Any = Receipt
    paid: list[int] = Field(default_factory=list)

    def _run(self, number: int) -> str:
        return "paid"

    def run(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        self.paid.append(1)
        return super().run(tool_input, *args, **kwargs)


def test_a_tool_whose_own_entry_came_first_has_begun_whatever_its_arguments(sidecar: Sidecar, one: Any) -> None:
    charge = declares(WRITE)(OwnEntry())
    graph = one(lambda s: {"out": charge.invoke({"number": "many"})}, checkpointer=InMemorySaver())
    twice(govern(graph, contracts=PAYING, sidecar=sidecar))

    assert 1 == len(charge.paid)


def test_a_filter_that_refuses_in_front_of_the_tool_leaves_the_place_free(sidecar: Sidecar, one: Any) -> None:
    charge, paid = charging(lambda: "paid")
    answers = iter([Refusal("closed"), None])

    class Hours:
        at = "tool"

        def __call__(self, call: Any) -> Any:
            closed = next(answers)
            if closed is not None:
                raise closed
            return (yield Proceed(call))

    graph = one(lambda s: {"out": charge.invoke({"amount": 5})}, checkpointer=InMemorySaver())
    govern(graph, contracts=PAYING, sidecar=sidecar, filters=[Hours()])
    with pytest.raises(Refusal, match="closed"):
        graph.invoke({"out": ""}, CONFIG)
    graph.invoke(None, CONFIG)

    assert [5] == paid


def test_a_node_with_an_effect_in_doubt_is_not_run_again_for_quality(sidecar: Sidecar, one: Any) -> None:
    charge, paid = charging(wordy, **HANDLED)
    gate = lambda call, update: Verdict.revise("not good enough")
    contract = Contract(tools=["charge"], gates=[gate], attempts=3)
    graph = govern(one(lambda s: {"out": charge.invoke(CALL).content}), contracts={"n": contract}, sidecar=sidecar)

    with pytest.raises(GateRefused):
        graph.invoke({"out": ""})

    assert [5] == paid
