"""A session that waits for a person while the policy changes: the question stands, the current rules decide."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from governance import Approval, Contract, Policy, Sidecar, Tool, at_most, govern
from governance.errors import AuthorityRefused, BudgetExceeded, Halted
from governance.policy import ApprovalPolicy, BudgetPolicy
from tests.attacks.answers import ALICE, CONFIG, LOCAL, answer, asked, paying

NOBODY = Policy()


class Parked:
    """One session on one saver, under whatever rules come."""

    def __init__(self, sidecar: Sidecar, one: Any, node: Any, **contract: Any) -> None:
        self.sidecar, self.one, self.node, self.contract = sidecar, one, node, Contract(**contract)
        self.saver = InMemorySaver()

    def under(self, policy: Policy, contract: Contract | None = None) -> Any:
        graph = self.one(self.node, checkpointer=self.saver)
        rules = {"n": contract or self.contract}
        return govern(graph, contracts=rules, policy=policy, sidecar=self.sidecar)


@pytest.fixture
def payment(sidecar: Sidecar, one: Any, till: Any) -> Parked:
    return Parked(sidecar, one, lambda s: {"out": till.pay.invoke({"amount": 100})}, tools=paying().tools.values())


def test_an_operator_who_is_not_named_any_more_cannot_answer(payment: Parked, till: Any, rows: Any) -> None:
    card = asked(payment.under(LOCAL))
    graph = payment.under(NOBODY)

    again = graph.invoke(answer(card), CONFIG)["__interrupt__"][0].value

    assert [] == till.done
    assert (card, True, True) == (again["card"], LOCAL.digest in again["error"], NOBODY.digest in again["error"])
    assert [(LOCAL.digest, NOBODY.digest)] == [
        (r.body["asked_under"]["policy"], r.body["in_force"]["policy"]) for r in rows("approval.refused")
    ]


def test_the_question_stands_and_an_answer_that_counts_now_is_taken(payment: Parked, till: Any, rows: Any) -> None:
    card = asked(payment.under(LOCAL))
    other = Policy(approvals=ApprovalPolicy(local_operators=("alice", "bob")))

    payment.under(other).invoke(answer(card, by="bob"), CONFIG)

    assert [("pay", 100)] == till.done
    assert 1 == len(rows("approval.asked"))
    assert {"contract": payment.contract.digest, "policy": LOCAL.digest} == rows("approval.committed")[0].body[
        "asked_under"
    ]


def test_what_the_contract_does_not_allow_any_more_is_refused_with_both_digests(
    payment: Parked, till: Any, sidecar: Sidecar, rows: Any
) -> None:
    card = asked(payment.under(LOCAL))
    sidecar.approvals.decide(card, "approve", by=ALICE)
    tight = Contract(tools=[Tool("pay", where={"amount": at_most(50)}, approval=Approval("money moves"))])

    with pytest.raises(AuthorityRefused) as refused:
        payment.under(NOBODY, tight).invoke(None, CONFIG)

    for digest in (payment.contract.digest, tight.digest, LOCAL.digest, NOBODY.digest):
        assert digest in refused.value.reason
    assert [] == till.done
    assert [refused.value.reason] == [row.body["reason"] for row in rows("approval.overruled")]


def test_an_approved_update_that_the_current_policy_leaves_no_room_for_is_refused_with_both_digests(
    sidecar: Sidecar, one: Any, rows: Any
) -> None:
    update = Parked(sidecar, one, lambda s: {"out": "x"}, approval=Approval("look"))
    card = asked(update.under(LOCAL))
    sidecar.approvals.decide(card, "approve", by=ALICE)
    sidecar.sessions.get("t").tokens = 50
    spent = Policy(budget=BudgetPolicy(session_tokens=10))
    graph = update.under(spent)

    with pytest.raises(BudgetExceeded) as refused:
        graph.invoke(None, CONFIG)

    assert LOCAL.digest in refused.value.reason
    assert spent.digest in refused.value.reason
    assert 1 == len(rows("approval.overruled"))
    update.under(LOCAL).invoke(None, CONFIG)
    assert "x" == graph.get_state(CONFIG).values["out"]


def test_a_question_of_a_contract_that_changed_is_put_aside_on_record(payment: Parked, rows: Any) -> None:
    asked(payment.under(LOCAL))
    wider = Contract(tools=[Tool("pay", approval=Approval("much money moves")), "lookup"])

    payment.under(LOCAL, wider).invoke(None, CONFIG)

    assert [payment.contract.digest] == [r.body["asked_under"]["contract"] for r in rows("approval.superseded")]
    assert 2 == len(rows("approval.asked"))


def test_a_refusal_under_the_very_rules_of_the_question_says_nothing_of_other_rules(
    payment: Parked, sidecar: Sidecar, rows: Any
) -> None:
    graph = payment.under(LOCAL)
    card = asked(graph)
    sidecar.approvals.decide(card, "approve", by=ALICE)
    sidecar.control.stop("tool", "pay", reason="enough", by="alice")

    with pytest.raises(Halted) as stopped:
        graph.invoke(None, CONFIG)

    assert "asked under" not in stopped.value.reason
    assert [] == rows("approval.overruled")
