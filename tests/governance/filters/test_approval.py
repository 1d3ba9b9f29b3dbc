"""A person at a tool call: the exact arguments wait, and only they are executed, once."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from governance import Approval, Contract, Policy, Sidecar, SideEffect, Tool, at_most, declares, govern
from governance.errors import ApprovalDenied, AuthorityRefused, Halted
from governance.plane.approvals import Principal
from governance.policy import ApprovalPolicy

ANN = Principal("ann", "code")
LOCAL = Policy(approvals=ApprovalPolicy(local_operators=("ann",)))


class Shop:
    """A node that pays 5 under a contract that wants a person's yes."""

    def __init__(self, line: Any, sidecar: Sidecar, approval: Approval | None = None) -> None:
        self.paid: list[int] = []
        self.asks = 5
        self.sidecar = sidecar

        @declares(SideEffect("write", dry_run=lambda args: f"would pay {args['amount']}"))
        @tool
        def pay(amount: int) -> str:
            """Pays."""
            self.paid.append(amount)
            return f"paid {amount}"

        rule = Tool("pay", where={"amount": at_most(50)}, approval=approval or Approval("big money"))
        self.graph = line(
            compiled={"checkpointer": InMemorySaver()}, n=lambda state: {"out": pay.invoke({"amount": self.asks})}
        )
        govern(self.graph, contracts={"n": Contract(tools=[rule])}, policy=LOCAL, sidecar=sidecar)

    def ask(self, thread: Any) -> dict[str, Any]:
        return self.graph.invoke({"out": ""}, thread)["__interrupt__"][0].value


@pytest.fixture
def shop(line: Any, sidecar: Sidecar) -> Shop:
    return Shop(line, sidecar)


def test_the_card_shows_the_exact_call_and_what_it_would_do(shop: Shop, thread: Any) -> None:
    card = shop.ask(thread)

    assert {"tool": "pay", "args": {"amount": 5}, "reason": "big money"} == card["what"]
    assert {"dry_run": "would pay 5", "undo": False} == card["evidence"]
    assert [] == shop.paid


def test_an_approved_call_is_made_once(shop: Shop, thread: Any, rows: Any) -> None:
    card = shop.ask(thread)
    shop.sidecar.approvals.decide(card["card"], "approve", by=ANN)

    assert "paid 5" == shop.graph.invoke(None, thread)["out"]
    assert [5] == shop.paid
    assert ["approval.asked", "approval.committed"] == [row.kind for row in rows("approval")]


def test_waiting_for_a_person_is_no_failure_on_record(shop: Shop, thread: Any, rows: Any) -> None:
    shop.ask(thread)

    assert ["node.begun", "node.interrupted", "tool.interrupted"] == sorted(
        {r.kind for r in rows("node") + rows("tool")}
    )


def test_an_edited_call_is_made_with_what_the_person_wrote(shop: Shop, thread: Any) -> None:
    card = shop.ask(thread)
    shop.sidecar.approvals.decide(card["card"], "edit", by=ANN, edited={"amount": 3})

    assert "paid 3" == shop.graph.invoke(None, thread)["out"]
    assert [3] == shop.paid


def test_an_edit_is_held_to_the_contract_too(shop: Shop, thread: Any) -> None:
    card = shop.ask(thread)
    shop.sidecar.approvals.decide(card["card"], "edit", by=ANN, edited={"amount": 51})

    with pytest.raises(AuthorityRefused, match="amount must be a number up to 50, not 51"):
        shop.graph.invoke(None, thread)
    assert [] == shop.paid


def test_a_denied_call_is_not_made(shop: Shop, thread: Any) -> None:
    card = shop.ask(thread)
    shop.sidecar.approvals.decide(card["card"], "deny", by=ANN, reason="no")

    with pytest.raises(ApprovalDenied, match="pay was denied by code:ann: no"):
        shop.graph.invoke(None, thread)
    assert [] == shop.paid


def test_a_question_nobody_answered_in_time_is_a_no(line: Any, sidecar: Sidecar, thread: Any) -> None:
    shop = Shop(line, sidecar, Approval(expires=1e-6))

    with pytest.raises(ApprovalDenied, match="pay was expired by code:clock: nobody answered in time"):
        shop.graph.invoke({"out": ""}, thread)
        shop.graph.invoke(None, thread)
    assert [] == shop.paid


def test_a_yes_does_not_count_for_other_arguments(shop: Shop, thread: Any) -> None:
    """The node asks for something else when it runs again: that is another question."""
    card = shop.ask(thread)
    shop.sidecar.approvals.decide(card["card"], "approve", by=ANN)
    shop.asks = 6
    again = shop.graph.invoke(None, thread)["__interrupt__"][0].value

    assert {"amount": 6} == again["what"]["args"]
    assert card["card"] != again["card"]
    assert [] == shop.paid


def test_a_yes_given_before_a_stop_waits_for_the_stop_to_be_lifted(shop: Shop, thread: Any) -> None:
    card = shop.ask(thread)
    shop.sidecar.approvals.decide(card["card"], "approve", by=ANN)
    shop.sidecar.control.stop("tool", "pay", reason="odd", by="ann")
    with pytest.raises(Halted):
        shop.graph.invoke(None, thread)
    shop.sidecar.control.resume("tool", "pay")

    assert "paid 5" == shop.graph.invoke(None, thread)["out"]


def answer(card: dict[str, Any], **changes: Any) -> Command[Any]:
    return Command(resume={"card": card["card"], "decision": "approve", "by": "ann", "reason": "ok"} | changes)


def test_a_named_local_operator_may_answer_by_resuming(shop: Shop, thread: Any) -> None:
    assert "paid 5" == shop.graph.invoke(answer(shop.ask(thread)), thread)["out"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"by": "eve"}, "nobody vouches for this answer"),
        ({"by": None}, "nobody vouches for this answer"),
        ({"decision": "yes"}, "decision must be 'approve', 'deny' or 'edit', not 'yes'"),
        ({"decision": "edit"}, "an edit needs the edited value"),
    ],
)
def test_an_answer_that_does_not_count_asks_again_and_says_why(
    changes: Any, words: str, shop: Shop, thread: Any
) -> None:
    card = shop.ask(thread)
    again = shop.graph.invoke(answer(card, **changes), thread)["__interrupt__"][0].value

    assert words in again["error"]
    assert card["card"] == again["card"]
    assert [] == shop.paid


@pytest.mark.parametrize("resume", [True, "yes", {"approved": "no"}, {"card": 1}])
def test_an_untyped_resume_is_refused(resume: Any, shop: Shop, thread: Any) -> None:
    shop.ask(thread)

    with pytest.raises(AuthorityRefused, match="this session waits for a decision on card"):
        shop.graph.invoke(Command(resume=resume), thread)
    assert [] == shop.paid


def test_a_changed_contract_asks_anew(shop: Shop, line: Any, thread: Any) -> None:
    """An approval counts under the rules it was given under."""
    card = shop.ask(thread)
    shop.sidecar.approvals.decide(card["card"], "approve", by=ANN)
    rule = Tool("pay", where={"amount": at_most(60)}, approval=Approval("big money"))
    govern(shop.graph, contracts={"n": Contract(tools=[rule])}, policy=LOCAL, sidecar=shop.sidecar)
    again = shop.graph.invoke(None, thread)["__interrupt__"][0].value

    assert card["card"] != again["card"]
    assert [] == shop.paid
