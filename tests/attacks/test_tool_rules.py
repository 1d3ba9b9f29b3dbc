"""The rules about tools: no form of an argument fools a constraint, and nobody changes a rule in place."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import StructuredTool, tool
from pydantic import AliasChoices, BaseModel, Field

from governance import Contract, Sidecar, SideEffect, Tool, at_most, govern, matches, one_of
from governance.errors import AuthorityRefused, GovernanceError, Refusal


@pytest.mark.parametrize("amount", [51, 10**9, "51", "40", 40.5e9, True, None, [40], float("nan"), float("inf")])
def test_a_constraint_is_not_fooled_by_the_form_of_a_value(amount: Any, sidecar: Sidecar, till: Any, one: Any) -> None:
    """What pydantic would coerce into a number inside the tool is no number in front of it."""
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": amount})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": at_most(50)})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_constraint_that_raises_allows_nothing(sidecar: Sidecar, till: Any, one: Any) -> None:
    def broken(value: Any, call: Any) -> str | None:
        raise RuntimeError("cannot judge")

    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": 1})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": broken})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused, match="cannot judge"):
        graph.invoke({"out": ""})

    assert [] == till.done


class Aliased(BaseModel):
    amount: int = Field(default=1, alias="sum")


class Choices(BaseModel):
    amount: int = Field(default=1, validation_alias=AliasChoices("sum", "total"))


@pytest.mark.parametrize("schema", [Aliased, Choices])
def test_an_alias_of_an_argument_does_not_pass_its_constraint(schema: Any, sidecar: Sidecar, one: Any) -> None:
    """The constraint looks at the value the tool gets, not at a default that the alias replaces."""
    done: list[int] = []

    def run(amount: int = 1) -> str:
        done.append(amount)
        return "paid"

    pay = StructuredTool.from_function(run, name="pay", description="pay", args_schema=schema)
    graph = govern(
        one(lambda s: {"out": pay.invoke({"sum": 5000})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": at_most(50)})])},
        sidecar=sidecar,
    )

    try:
        graph.invoke({"out": ""})
    except Refusal:
        pass

    assert [] == [amount for amount in done if amount > 50]


def test_a_default_is_constrained_too(sidecar: Sidecar, one: Any) -> None:
    done: list[int] = []

    @tool
    def pay(amount: int = 5000) -> str:
        """Pay."""
        done.append(amount)
        return "paid"

    graph = govern(
        one(lambda s: {"out": pay.invoke({})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": at_most(50)})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == done


@pytest.mark.parametrize("text", ["ok\nrm -rf", "okay", " ok", "ok "])
def test_a_pattern_must_match_the_whole_text(text: str, sidecar: Sidecar, one: Any) -> None:
    done: list[str] = []

    @tool
    def say(text: str) -> str:
        """Say."""
        done.append(text)
        return text

    graph = govern(
        one(lambda s: {"out": say.invoke({"text": text})}),
        contracts={"n": Contract(tools=[Tool("say", where={"text": matches("ok")})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == done


def test_one_of_tells_true_from_one(sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": True})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": one_of(1)})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})


def test_a_contract_cannot_be_widened_in_place(sidecar: Sidecar, till: Any, one: Any) -> None:
    """A rule book that is a plain dictionary belongs to whoever holds a reference."""
    contract = Contract(tools=[Tool("lookup", where={"amount": at_most(1)})], writes={"out": str})
    graph = govern(one(lambda s: _widen(contract, till)), contracts={"n": contract}, sidecar=sidecar)

    with pytest.raises((TypeError, AttributeError, GovernanceError)):
        graph.invoke({"out": ""})

    assert [] == till.done


def _widen(contract: Contract, till: Any) -> Any:
    contract.tools["pay"] = Tool("pay")  # type: ignore[index]
    return {"out": till.pay.invoke({"amount": 1})}


@pytest.mark.parametrize("part", ["tools", "effects", "writes", "where"])
def test_no_part_of_a_contract_is_a_dictionary_to_write_to(part: str) -> None:
    rule = Tool("pay", where={"amount": at_most(1)})
    contract = Contract(tools=[rule], writes={"out": str}, effects={"pay": SideEffect("write")})
    target: Any = rule.where if part == "where" else getattr(contract, part)

    with pytest.raises(TypeError):
        target["other"] = None


def test_a_dictionary_given_to_govern_is_not_looked_at_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    contracts = {"n": Contract()}
    graph = govern(one(lambda s: {"out": till.pay.invoke({"amount": 1})}), contracts=contracts, sidecar=sidecar)
    contracts["n"] = Contract.permissive()

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})
