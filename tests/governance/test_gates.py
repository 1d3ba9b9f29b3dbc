"""The gates that are shipped: what each lets pass, and the words with which it asks for another try."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from langgraph.types import Command
from pydantic import BaseModel

from governance.gates import Gate, Verdict, custom, grounded, schema


class Plan(BaseModel):
    steps: list[str]


def call(**state: Any) -> Any:
    return SimpleNamespace(read=state.get)


@pytest.mark.parametrize(
    ("update", "outcome", "reason"),
    [
        ({"plan": Plan(steps=["a"])}, "pass", ""),
        (Command(update={"plan": Plan(steps=[])}), "pass", ""),
        ({}, "revise", "nothing was written to 'plan'"),
        (None, "revise", "nothing was written to 'plan'"),
    ],
)
def test_schema_wants_a_value_of_the_type(update: Any, outcome: str, reason: str) -> None:
    verdict = schema("plan", Plan)(call(), update)

    assert (outcome, reason) == (verdict.outcome, verdict.reason)


def test_schema_names_the_place_inside_the_value() -> None:
    verdict = schema("n", dict[str, int])(call(), {"n": {"a": "1"}})

    assert "n: a: Input should be a valid integer, got '1'" == verdict.reason


GROUNDED = grounded(
    "claim", "evidence", cited=lambda claim: claim["cites"], known=lambda found: [e["id"] for e in found]
)
THERE = call(evidence=[{"id": "e1"}, {"id": "e2"}])


@pytest.mark.parametrize(
    ("cites", "outcome", "reason"),
    [
        (["e1"], "pass", ""),
        (["e1", "e1"], "pass", ""),
        ([], "revise", "claim must cite at least 1 of: e1, e2"),
        (["e1", "e9"], "revise", "claim cites evidence that does not exist: 'e9'; there is: e1, e2"),
    ],
)
def test_grounded_wants_citations_that_exist(cites: list[str], outcome: str, reason: str) -> None:
    verdict = GROUNDED(THERE, {"claim": {"cites": cites}})

    assert (outcome, reason) == (verdict.outcome, verdict.reason)


def test_grounded_counts_different_pieces_of_evidence() -> None:
    gate = grounded("claim", "evidence", cited=lambda claim: claim, least=2)

    assert "revise" == gate(call(evidence=["a", "b"]), {"claim": ["a", "a"]}).outcome
    assert "pass" == gate(call(evidence=["a", "b"]), {"claim": ["a", "b"]}).outcome


def test_without_evidence_nothing_can_be_grounded() -> None:
    assert "revise" == GROUNDED(call(), {"claim": {"cites": ["e1"]}}).outcome


def test_what_grounded_passed_is_in_its_evidence() -> None:
    assert ["e2", "e1"] == GROUNDED(THERE, {"claim": {"cites": ["e2", "e1", "e2"]}}).evidence


@pytest.mark.parametrize("otherwise", ["revise", "escalate", "halt"])
def test_a_check_of_ones_own_says_what_is_wrong(otherwise: Any) -> None:
    gate = custom(lambda call, update: None if update["n"] > 0 else "n is not positive", otherwise=otherwise)

    assert Verdict.passed() is gate(call(), {"n": 1})
    assert Verdict(otherwise, "n is not positive") == gate(call(), {"n": 0})


def test_every_gate_is_a_gate() -> None:
    assert all(isinstance(gate, Gate) for gate in (GROUNDED, schema("x", int), custom(lambda c, u: None)))


def test_a_verdict_says_what_it_is() -> None:
    made = [Verdict.revise("r"), Verdict.escalate("r", 1), Verdict.halt("r"), Verdict.passed("e")]

    assert ["revise", "escalate", "halt", "pass"] == [verdict.outcome for verdict in made]
