"""Tools with an effect that ask a person on their way: carried out once, after the answer, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from governance import Approval, Contract, Sidecar, SideEffect, Tool, declares, govern
from governance.errors import EffectInDoubt
from tests.attacks.answers import ALICE, CONFIG, asked

ASKING = Contract(tools=["settle", "refund", Tool("pay", approval=Approval("money"))])


def settling(work: Callable[[int], Any]) -> BaseTool:
    def settle(amount: int) -> str:
        """Settle."""
        return str(work(amount))

    async def asettle(amount: int) -> str:
        return settle(amount)

    return declares(SideEffect("write"))(StructuredTool.from_function(settle, coroutine=asettle, name="settle"))


def graph_of(settle: BaseTool, sidecar: Sidecar, one: Any, amounts: Any = None) -> Any:
    amount = (lambda: 5) if amounts is None else (lambda: next(amounts))
    graph = one(lambda s: {"out": settle.invoke({"amount": amount()})}, checkpointer=InMemorySaver())
    return govern(graph, contracts={"n": ASKING, "n/*": ASKING, "n/**": ASKING}, sidecar=sidecar)


def after_asking(till: Any) -> Callable[[int], Any]:
    return lambda amount: till.lookup.func(amount) if interrupt("really?") == "yes" else "no"


def test_a_tool_that_asks_by_itself_is_carried_out_after_the_answer(sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = graph_of(settling(after_asking(till)), sidecar, one)
    graph.invoke({"out": ""}, CONFIG)
    assert [] == till.ran("lookup")
    graph.invoke(Command(resume="yes"), CONFIG)

    assert [5] == till.ran("lookup")


def test_an_async_tool_that_asks_by_itself_is_carried_out_after_the_answer(
    sidecar: Sidecar, till: Any, one: Any
) -> None:
    settle = settling(after_asking(till))

    async def node(state: Any) -> Any:
        return {"out": await settle.ainvoke({"amount": 5})}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts={"n": ASKING}, sidecar=sidecar)

    async def run() -> None:
        await graph.ainvoke({"out": ""}, CONFIG)
        await graph.ainvoke(Command(resume="yes"), CONFIG)

    asyncio.run(run())

    assert [5] == till.ran("lookup")


def test_a_tool_that_asks_twice_is_carried_out_after_both_answers(sidecar: Sidecar, till: Any, one: Any) -> None:
    def work(amount: int) -> Any:
        return interrupt("really?") + interrupt("sure?") + till.refund.invoke({"amount": amount})

    graph = graph_of(settling(work), sidecar, one)
    for given in ({"out": ""}, Command(resume="a "), Command(resume="b ")):
        answer = graph.invoke(given, CONFIG)["out"]

    assert "a b refund 5" == answer
    assert [5] == till.ran("refund")


def test_an_answer_to_a_tools_question_is_no_answer_for_other_arguments(sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = graph_of(settling(after_asking(till)), sidecar, one, amounts=iter([5, 900]))
    graph.invoke({"out": ""}, CONFIG)

    with pytest.raises(EffectInDoubt, match="settle was already called here with other arguments"):
        graph.invoke(Command(resume="yes"), CONFIG)

    assert [] == till.ran("lookup")


@pytest.mark.parametrize("where", ["in the tool", "in a graph of the tool's"])
def test_a_tool_that_uses_an_approved_tool_is_carried_out_after_the_answer(
    where: str, sidecar: Sidecar, till: Any, one: Any
) -> None:
    child = one(lambda s: {"out": till.pay.invoke({"amount": 5})})
    ways = {
        "in the tool": lambda amount: till.pay.invoke({"amount": amount}),
        "in a graph of the tool's": lambda amount: child.invoke({"out": ""})["out"],
    }
    graph = graph_of(settling(ways[where]), sidecar, one)
    sidecar.approvals.decide(asked(graph), "approve", by=ALICE)

    assert "pay 5" == graph.invoke(None, CONFIG)["out"]
    assert [5] == till.ran("pay")


def test_what_a_tool_did_before_it_asked_is_found_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    def work(amount: int) -> Any:
        return till.refund.invoke({"amount": amount}) + till.pay.invoke({"amount": amount})

    graph = graph_of(settling(work), sidecar, one)
    sidecar.approvals.decide(asked(graph), "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert [("refund", 5), ("pay", 5)] == till.done


def test_a_tool_that_asked_and_then_finished_is_not_carried_out_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    settle, deaths = settling(after_asking(till)), iter([ConnectionError("the node dies"), None])

    def node(state: Any) -> Any:
        found = settle.invoke({"amount": 5})
        death = next(deaths)
        if death is not None:
            raise death
        return {"out": found}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts={"n": ASKING}, sidecar=sidecar)
    graph.invoke({"out": ""}, CONFIG)
    with pytest.raises(ConnectionError):
        graph.invoke(Command(resume="yes"), CONFIG)
    graph.invoke(None, CONFIG)

    assert [5] == till.ran("lookup")


def test_a_question_leaves_only_once_its_effect_is_known_to_be_open(sidecar: Sidecar, till: Any, one: Any) -> None:
    """Another process may take the answer at once."""
    graph = graph_of(settling(after_asking(till)), sidecar, one)
    graph.invoke({"out": ""}, CONFIG)

    with sidecar.control.transaction() as db:
        assert [("asked", 0.0)] == db.execute("SELECT state, lease FROM effects").fetchall()
