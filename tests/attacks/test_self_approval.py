"""Code inside the run: it decides nothing, answers nothing and swallows no question."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.types import Command, interrupt

from governance import Contract, Proceed, Sidecar, govern
from governance.errors import AuthorityRefused, GovernanceError
from tests.attacks.answers import ALICE, CONFIG, LOCAL, answer, paying

FORGERIES: dict[str, Any] = {
    "decide": lambda sidecar, graph, card: sidecar.approvals.decide(card, "approve", by=ALICE),
    "edit": lambda sidecar, graph, card: sidecar.approvals.decide(card, "edit", by=ALICE, edited={"amount": 1}),
    "commit": lambda sidecar, graph, card: sidecar.approvals.commit(sidecar.approvals.get(card)),
    "resume": lambda sidecar, graph, card: graph.invoke(answer(card), CONFIG),
    "resume by id": lambda sidecar, graph, card: graph.invoke(
        Command(resume={card: {"card": card, "decision": "approve", "by": "alice"}}), CONFIG
    ),
}


@pytest.mark.parametrize("how", list(FORGERIES))
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_code_of_a_node_decides_nothing(
    mode: str, how: str, sidecar: Sidecar, till: Any, one: Any, waiting: Any
) -> None:
    """Neither for another session nor for its own: an agent that can call the book would approve itself."""
    graph, card = waiting

    def forge(state: Any) -> Any:
        FORGERIES[how](sidecar, graph, card)
        return {"out": "done"}

    contracts = {"*": Contract.permissive()} if mode == "enforce" else None
    forger = govern(one(forge), contracts=contracts, sidecar=sidecar)
    try:
        forger.invoke({"out": ""})
    except GovernanceError:
        pass

    assert "pending" == sidecar.approvals.get(card).state
    assert [] == till.done


def test_code_of_a_node_lifts_no_stop(sidecar: Sidecar, till: Any, one: Any) -> None:
    sidecar.control.stop("tool", "pay", reason="enough", by="alice")

    def node(state: Any) -> Any:
        sidecar.control.resume("tool", "pay")
        till.pay.invoke({"amount": 1})

    graph = govern(one(node), contracts={"n": Contract(tools=["pay"])}, sidecar=sidecar)
    try:
        graph.invoke({"out": ""})
    except GovernanceError:
        pass

    assert [] == till.done
    assert ("tool", "pay") in sidecar.control.stops


def test_an_answer_slipped_into_langgraphs_resume_map_is_not_seen(sidecar: Sidecar, till: Any, one: Any) -> None:
    """The node is given a config of its own; what it puts there answers no card."""
    known: list[str] = []

    def node(state: Any) -> Any:
        answers = get_config()["configurable"].get("__pregel_resume_map")
        if answers is not None and known:
            answers[known[0]] = {"card": known[0], "decision": "approve", "by": "alice"}
        if not known:
            interrupt("name?")
        till.pay.invoke({"amount": 100})

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts={"n": paying()}, policy=LOCAL, sidecar=sidecar)
    first = graph.invoke({"out": ""}, CONFIG)["__interrupt__"][0].id
    card = graph.invoke(Command(resume={first: "bob"}), CONFIG)["__interrupt__"][0].id
    known.append(card)
    graph.invoke(Command(resume={first: "bob"}), CONFIG)

    assert [] == till.done


def test_a_question_swallowed_by_the_node_approves_nothing(sidecar: Sidecar, till: Any, one: Any) -> None:
    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 100})
        except Exception:
            return {"out": "paid, I suppose"}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts={"n": paying()}, policy=LOCAL, sidecar=sidecar)
    result = graph.invoke({"out": ""}, CONFIG)

    assert [] == till.done
    assert "paid, I suppose" != result.get("out")


def fallback(call: Any) -> Any:
    """A filter of the user's that catches too much."""
    try:
        return (yield Proceed(call))
    except Exception:
        return {"out": "fallback"}


def test_a_broad_except_in_a_users_filter_does_not_swallow_a_question(sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": str(interrupt("name?"))}, checkpointer=InMemorySaver()),
        contracts={"n": Contract()},
        filters=[fallback],
        sidecar=sidecar,
    )

    assert "name?" == graph.invoke({"out": ""}, CONFIG)["__interrupt__"][0].value


def test_a_broad_except_in_a_users_filter_does_not_swallow_a_refusal(sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": 1})}),
        contracts={"n": Contract()},
        filters=[fallback],
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})
