"""Rules that changed while a question waited are the ones that are applied."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt

from governance import Approval, Contract, Sidecar, SideEffect, Tool, Verdict, at_most, govern
from governance.errors import AuthorityRefused, GovernanceError, Refusal
from governance.gates import custom, schema
from tests.attacks.answers import ALICE, CONFIG, LOCAL, answer, asked


def test_an_answer_to_a_question_is_no_answer_to_another(sidecar: Sidecar, one: Any) -> None:
    """The policy drops the approval while a person is asked; the yes must not become the customer's name."""
    node = lambda s: {"out": str(interrupt("what is your name?"))}
    saver = InMemorySaver()
    asking = govern(
        one(lambda s: {"out": "x"}, checkpointer=saver),
        contracts={"n": Contract(approval=Approval("?"))},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(asking)
    reloaded = govern(one(node, checkpointer=saver), contracts={"n": Contract()}, policy=LOCAL, sidecar=sidecar)
    try:
        reloaded.invoke(answer(card), CONFIG)
    except GovernanceError:
        pass

    assert "approve" not in str(reloaded.get_state(CONFIG).values)


def tight(limit: int) -> Contract:
    return Contract(tools=[Tool("pay", where={"amount": at_most(limit)}, approval=Approval("money moves"))])


def test_a_contract_that_changed_while_a_question_waited_is_applied(sidecar: Sidecar, till: Any, one: Any) -> None:
    saver = InMemorySaver()
    node = lambda s: {"out": till.pay.invoke({"amount": 100})}
    card = asked(govern(one(node, checkpointer=saver), contracts={"n": tight(1000)}, policy=LOCAL, sidecar=sidecar))
    sidecar.approvals.decide(card, "approve", by=ALICE)
    stricter = govern(one(node, checkpointer=saver), contracts={"n": tight(50)}, policy=LOCAL, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        stricter.invoke(None, CONFIG)

    assert [] == till.done


def at_least_words(least: int) -> Any:
    return custom(lambda call, update: None if len(update["out"].split()) >= least else "too short", otherwise="halt")


def test_gates_that_changed_while_a_question_waited_are_applied(sidecar: Sidecar, one: Any) -> None:
    """Only a number inside a gate changed; the stored update is still judged by the new one."""
    saver = InMemorySaver()

    def graph_with(least: int) -> Any:
        contract = Contract(approval=Approval("look"), gates=[at_least_words(least)])
        return govern(
            one(lambda s: {"out": "two words"}, checkpointer=saver),
            contracts={"n": contract},
            policy=LOCAL,
            sidecar=sidecar,
        )

    card = asked(graph_with(1))
    sidecar.approvals.decide(card, "approve", by=ALICE)

    with pytest.raises(Refusal):
        graph_with(5).invoke(None, CONFIG)


@pytest.mark.parametrize(
    ("one_way", "other"),
    [
        (
            lambda: Contract(tools=[Tool("pay", where={"amount": at_most(50)})]),
            lambda: Contract(tools=[Tool("pay", where={"amount": at_most(51)})]),
        ),
        (lambda: Contract(gates=[at_least_words(1)]), lambda: Contract(gates=[at_least_words(2)])),
        (
            lambda: Contract(gates=[lambda c, u: Verdict.passed()]),
            lambda: Contract(gates=[lambda c, u: Verdict.halt("no")]),
        ),
        (lambda: Contract(tokens=1), lambda: Contract(tokens=2)),
        (lambda: Contract(writes={"out": str}), lambda: Contract(writes={"out": int})),
        (lambda: Contract(writes={"out": str | None}), lambda: Contract(writes={"out": int | None})),
        (lambda: Contract(writes={"out": list[str]}), lambda: Contract(writes={"out": list[int]})),
        (lambda: Contract(gates=[schema("out", str)]), lambda: Contract(gates=[schema("out", int)])),
        (
            lambda: Contract(effects={"pay": SideEffect("write", undo=lambda a, o: 1)}),
            lambda: Contract(effects={"pay": SideEffect("write", undo=lambda a, o: 2)}),
        ),
    ],
    ids=["limit", "gate", "lambda", "tokens", "type", "union", "generic", "schema", "undo"],
)
def test_contracts_that_decide_differently_have_different_digests(one_way: Any, other: Any) -> None:
    """A changed rule is seen while a session waits, also where only a captured value changed."""
    assert one_way().digest == one_way().digest
    assert one_way().digest != other().digest
