"""What was approved: exactly what was shown happens, and once, however often the node runs."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy

from governance import Approval, Contract, Sidecar, Tool, govern
from tests.attacks.answers import ALICE, CONFIG, LOCAL, answer, asked, paying
from tests.fixtures import calling


def test_what_was_shown_is_what_is_committed(sidecar: Sidecar, one: Any) -> None:
    """The node runs again on resume and samples another amount; the person approved the first one."""
    counter = itertools.count(1)
    graph = govern(
        one(lambda s: {"amount": 100 * next(counter)}, checkpointer=InMemorySaver()),
        contracts={"n": Contract(approval=Approval("look at it"))},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    result = graph.invoke(answer(card), CONFIG)

    assert 100 == result["amount"]


def test_other_arguments_than_those_shown_are_asked_about_anew(sidecar: Sidecar, till: Any, one: Any) -> None:
    amounts = itertools.count(100, 100)
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": next(amounts)})}, checkpointer=InMemorySaver()),
        contracts={"n": paying()},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    result = graph.invoke(answer(card), CONFIG)

    assert [] == till.done
    assert card != result["__interrupt__"][0].id


def test_one_approval_pays_once_when_the_node_runs_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    """A tool that says nothing about its effect, but needs a person, has one."""
    tries: list[int] = []

    def node(state: Any) -> Any:
        till.pay.invoke({"amount": 100})
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("weather")

    patient = {"retry_policy": RetryPolicy(max_attempts=5, initial_interval=0, jitter=False)}
    graph = govern(
        one(node, options=patient, checkpointer=InMemorySaver()),
        contracts={"n": paying()},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    sidecar.approvals.decide(card, "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert [100] == till.ran("pay")


def test_one_approval_pays_once_on_another_saver_and_after_the_checkpoints_are_lost(
    sidecar: Sidecar, till: Any, one: Any, waiting: Any
) -> None:
    """The thread begins anew at the same place, and the old answer is spent."""
    graph, card = waiting
    sidecar.approvals.decide(card, "approve", by=ALICE)
    graph.invoke(None, CONFIG)
    graph.copy(update={"checkpointer": InMemorySaver()}).invoke({"out": ""}, CONFIG)

    assert [100] == till.ran("pay")


def test_one_approval_pays_once_for_a_tool_call_made_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    message = calling(("pay", {"amount": 100}))

    def node(state: Any) -> Any:
        return {"messages": [till.pay.invoke(message.tool_calls[0]) for _ in range(3)]}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts={"n": paying()}, policy=LOCAL, sidecar=sidecar)
    card = asked(graph, {"messages": [message]})
    sidecar.approvals.decide(card, "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert [100] == till.ran("pay")


@pytest.mark.parametrize("first", ["refund", "free"])
def test_what_ran_before_the_question_does_not_run_again_on_resume(
    first: str, sidecar: Sidecar, till: Any, one: Any
) -> None:
    """Declared or not: to repeat a tool because a person answered another question is a guess about what it does."""
    earlier = till.refund if first == "refund" else till.tool("free")

    def node(state: Any) -> Any:
        earlier.invoke({"amount": 5})
        till.pay.invoke({"amount": 100})

    graph = govern(
        one(node, checkpointer=InMemorySaver()),
        contracts={"n": Contract(tools=[first, Tool("pay", approval=Approval("money moves"))])},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    graph.invoke(None, CONFIG)
    graph.invoke(answer(card), CONFIG)

    assert [(first, 5), ("pay", 100)] == till.done


def test_two_questions_of_one_tool_node_are_two_decisions(sidecar: Sidecar, till: Any, one: Any) -> None:
    message = calling(("pay", {"amount": 1}), ("pay", {"amount": 2}))
    graph = govern(
        one(ToolNode([till.pay], handle_tool_errors=True), checkpointer=InMemorySaver()),
        contracts={"n": paying()},
        policy=LOCAL,
        sidecar=sidecar,
    )
    graph.invoke({"messages": [message]}, CONFIG)
    cards = {card.what["args"]["amount"]: card for card in sidecar.approvals.cards()}
    one_card = cards.get(1) or next(iter(cards.values()))
    amount = one_card.what["args"]["amount"]
    graph.invoke(answer(one_card.id), CONFIG)

    assert set(till.ran("pay")) <= {amount}

    for _ in range(2):
        for card in sidecar.approvals.cards():
            graph.invoke(answer(card.id), CONFIG)

    assert [1, 2] == sorted(till.ran("pay"))
