"""Digests of contracts: whatever a rule decides by is a part of them, wherever the author keeps it."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import AfterValidator, BaseModel, Field, field_validator

from governance import Approval, Contract, Sidecar, Tool, govern, matches
from governance.gates import schema
from tests.attacks.answers import ALICE, CONFIG, asked

LIMIT = 50
LIMITS = {"pay": 50}
SETTINGS = types.SimpleNamespace(limit=50)
MODULE = types.ModuleType("limits")
MODULE.limit = 50  # type: ignore[attr-defined]


class Limits:
    limit = 50


def too_much(value: Any) -> bool:
    return bool(value > LIMIT)


def again(value: Any, call: Any) -> Any:
    return again(value - LIMIT, call) if value > 0 else None


RULES: dict[str, Callable[[Any, Any], Any]] = {
    "a global": lambda value, call: None if value <= LIMIT else "too much",
    "a function": lambda value, call: "too much" if too_much(value) else None,
    "a function inside": lambda value, call: any(one > LIMIT for one in [value]) or None,
    "itself": again,
    "a mapping": lambda value, call: None if value <= LIMITS["pay"] else "too much",
    "an object": lambda value, call: None if value <= SETTINGS.limit else "too much",
    "a module": lambda value, call: None if value <= MODULE.limit else "too much",
    "a class": lambda value, call: None if value <= Limits.limit else "too much",
    "a cache": functools.lru_cache(lambda value, call: None if value <= LIMIT else "too much"),
}


def raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every limit, wherever it is kept."""
    monkeypatch.setitem(globals(), "LIMIT", 900)
    monkeypatch.setitem(LIMITS, "pay", 900)
    for owner in (SETTINGS, MODULE, Limits):
        monkeypatch.setattr(owner, "limit", 900)


def digest(rule: Any) -> str:
    return Contract(tools=[Tool("pay", where={"amount": rule})]).digest


@pytest.mark.parametrize("kept_in", list(RULES))
def test_a_limit_is_a_part_of_the_digest_wherever_it_is_kept(kept_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = RULES[kept_in]
    before = digest(rule)
    assert before == digest(rule)
    raised(monkeypatch)

    assert before != digest(rule)


class Rule:
    def __init__(self, limit: int) -> None:
        self.limit = limit

    def check(self, value: Any, call: Any) -> str | None:
        return None if value <= self.limit else "too much"


class Callable_(Rule):
    def __call__(self, value: Any, call: Any) -> str | None:
        return self.check(value, call)


MADE: dict[str, Callable[[int], Any]] = {
    "a method": lambda limit: Rule(limit).check,
    "a callable object": Callable_,
    "a partial": lambda limit: functools.partial(Rule(limit).check),
    "the end of a long pattern": lambda limit: matches("a" * 300 + str(limit)),
    "the flags of a pattern": lambda limit: lambda value, call, flags=re.compile("a", limit and re.I): None,
}


@pytest.mark.parametrize("how", list(MADE))
def test_rules_that_differ_in_what_they_hold_have_different_digests(how: str) -> None:
    make = MADE[how]

    assert digest(make(1)) == digest(make(1)) != digest(make(0))


def bounded(limit: int) -> type[BaseModel]:
    class Plan(BaseModel):
        amount: int = Field(le=limit)

    return Plan


def validated(limit: int) -> type[BaseModel]:
    class Plan(BaseModel):
        amount: int

        @field_validator("amount")
        @classmethod
        def small(cls, value: int) -> int:
            assert value <= limit
            return value

    return Plan


def held(limit: int) -> type[BaseModel]:
    plan = bounded(limit)

    class Plans(BaseModel):
        plans: list[plan]  # type: ignore[valid-type]

    return Plans


SHAPES: dict[str, Callable[[int], Any]] = {
    "a bound": bounded,
    "a validator": validated,
    "a model inside": held,
    "models in a list": lambda limit: list[bounded(limit)],  # type: ignore[misc]
    "a type with a bound": lambda limit: Annotated[int, Field(le=limit)],
    "a type with a check": lambda limit: Annotated[int, AfterValidator(lambda value: min(value, limit))],
}


@pytest.mark.parametrize("how", list(SHAPES))
def test_a_limit_in_the_model_of_a_schema_gate_is_a_part_of_the_digest(how: str) -> None:
    def contract(limit: int) -> str:
        return Contract(gates=[schema("out", SHAPES[how](limit))]).digest

    assert contract(50) == contract(50) != contract(900)


@pytest.mark.parametrize("how", list(SHAPES))
def test_a_limit_in_the_type_of_a_write_is_a_part_of_the_digest(how: str) -> None:
    assert Contract(writes={"out": SHAPES[how](50)}).digest != Contract(writes={"out": SHAPES[how](900)}).digest


def test_a_question_asked_under_another_limit_is_asked_anew(
    sidecar: Sidecar, till: Any, one: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = InMemorySaver()

    def governed() -> Any:
        rule = Tool("pay", where={"amount": RULES["a global"]}, approval=Approval("money"))
        graph = one(lambda s: {"out": till.pay.invoke({"amount": 5})}, checkpointer=saver)
        return govern(graph, contracts={"n": Contract(tools=[rule])}, sidecar=sidecar)

    card = asked(governed())
    sidecar.approvals.decide(card, "approve", by=ALICE)
    raised(monkeypatch)

    assert card != governed().invoke(None, CONFIG)["__interrupt__"][0].id
    assert [] == till.done
