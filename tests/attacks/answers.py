"""Contracts that ask a person, runs that wait for one, and what the person answers."""

from __future__ import annotations

from typing import Any

from langgraph.types import Command

from governance import Approval, Contract, Policy, Principal, Tool
from governance.policy import ApprovalPolicy

ALICE = Principal("alice", "local")
CONFIG: Any = {"configurable": {"thread_id": "t"}}
LOCAL = Policy(approvals=ApprovalPolicy(local_operators=("alice",)))


def paying(**rule: Any) -> Contract:
    """Paying needs a person; `rule` goes to the approval."""
    return Contract(tools=[Tool("pay", approval=Approval("money moves", **rule)), "lookup"])


def asked(graph: Any, given: Any = {"out": ""}) -> Any:  # noqa: B006
    """Runs until a person is asked; the card's id."""
    return graph.invoke(given, CONFIG)["__interrupt__"][0].id


def answer(card: str, **changes: Any) -> Command[Any]:
    """Alice's yes to this card, with some of it changed."""
    return Command(resume={"card": card, "decision": "approve", "by": "alice", **changes})
