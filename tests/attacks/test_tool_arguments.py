"""Arguments of tools: what is judged, shown and decided about is what the tool gets, in every form they come in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from pydantic import AliasChoices, AliasPath, BaseModel, Field

from governance import Approval, Contract, Sidecar, Tool, at_most, govern, one_of
from governance.errors import Refusal
from tests.attacks.answers import ALICE, CONFIG, asked, paying
from tests.fixtures import calling

SMUGGLED = {"type": "tool_call", "args": {"amount": 1}, "amount": 900}
SMALL = Contract(tools=[Tool("pay", where={"amount": at_most(50)})])
WAYS: dict[str, Callable[[BaseTool], Any]] = {
    "run": lambda pay: pay.run(SMUGGLED),
    "run with an id": lambda pay: pay.run(SMUGGLED, tool_call_id="c"),
    "arun": lambda pay: asyncio.run(pay.arun(SMUGGLED)),
    "invoke": lambda pay: pay.invoke({"type": "tool_call", "name": "pay", "id": "c", "args": SMUGGLED}),
    "ainvoke": lambda pay: asyncio.run(pay.ainvoke({"type": "tool_call", "name": "pay", "id": "c", "args": SMUGGLED})),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_arguments_that_look_like_a_tool_call_are_judged_as_the_tool_gets_them(
    way: str, sidecar: Sidecar, till: Any, one: Any
) -> None:
    graph = govern(one(lambda s: {"out": str(WAYS[way](till.pay))}), contracts={"n": SMALL}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == till.ran("pay")


def test_a_model_alone_cannot_hide_an_argument_from_its_constraint(sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = govern(one(ToolNode([till.pay])), contracts={"n": SMALL}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"messages": [calling(("pay", SMUGGLED))]})

    assert [] == till.ran("pay")


def test_a_model_alone_cannot_hide_an_argument_from_the_card(sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = one(ToolNode([till.pay]), checkpointer=InMemorySaver())
    govern(graph, contracts={"n": paying()}, sidecar=sidecar)

    [question] = graph.invoke({"messages": [calling(("pay", SMUGGLED))]}, CONFIG)["__interrupt__"]
    sidecar.approvals.decide(question.id, "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert [900] == till.ran("pay") == [question.value["what"]["args"]["amount"]]


def test_arguments_cannot_be_changed_between_the_judgement_and_the_call(sidecar: Sidecar, till: Any, one: Any) -> None:
    given = {"amount": 1}

    def raising(value: Any, call: Any) -> None:
        given["amount"] = 900

    contract = Contract(tools=[Tool("pay", where={"amount": raising})])
    govern(graph := one(lambda s: {"out": till.pay.invoke(given)}), contracts={"n": contract}, sidecar=sidecar)
    graph.invoke({"out": ""})

    assert [1] == till.ran("pay")


class Amount(BaseModel):
    amount: int = Field(alias="amt")


def test_a_model_of_the_arguments_is_judged_by_its_fields(sidecar: Sidecar, one: Any) -> None:
    pay, paid = aliased(Amount)
    node = lambda s: {"out": pay.invoke(Amount(amt=900))}
    govern(graph := one(node), contracts={"n": SMALL}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == paid


def aliased(schema: type[BaseModel]) -> tuple[BaseTool, list[int]]:
    paid: list[int] = []

    def run(amount: int) -> str:
        paid.append(amount)
        return "paid"

    return StructuredTool.from_function(run, name="pay", description="Pay.", args_schema=schema), paid


class OneOf(BaseModel):
    amount: int = Field(default=1, validation_alias=AliasChoices("amt", "sum"))


class Nested(BaseModel):
    amount: int = Field(default=1, validation_alias=AliasPath("sums", 0))


def edited_to(edited: Any, pay: BaseTool, given: Any, sidecar: Sidecar, one: Any) -> None:
    graph = one(lambda s: {"out": str(pay.invoke(given))}, checkpointer=InMemorySaver())
    govern(graph, contracts={"n": paying()}, sidecar=sidecar)
    sidecar.approvals.decide(asked(graph), "edit", by=ALICE, edited=edited)
    graph.invoke(None, CONFIG)


@pytest.mark.parametrize(("schema", "given"), [(Amount, {"amt": 900}), (OneOf, {"sum": 900})])
def test_an_edited_argument_with_an_alias_is_what_the_tool_gets(
    schema: Any, given: Any, sidecar: Sidecar, one: Any
) -> None:
    pay, paid = aliased(schema)
    edited_to({"amount": 40}, pay, given, sidecar, one)

    assert [40] == paid


@pytest.mark.parametrize(
    ("schema", "edited"), [(Nested, {"amount": 40}), (Amount, {"amount": 40, "currency": "yen"})], ids=["path", "new"]
)
def test_an_edit_that_the_tool_would_not_see_is_refused(schema: Any, edited: Any, sidecar: Sidecar, one: Any) -> None:
    pay, paid = aliased(schema)

    with pytest.raises(Refusal):
        edited_to(edited, pay, {"sums": [900], "amt": 900}, sidecar, one)

    assert [] == paid


class Purse:
    """No value that can be written down."""

    def __init__(self) -> None:
        self.paid: list[Any] = []

    def __reduce__(self) -> Any:
        raise TypeError("only here")


def from_account(purse: Purse | None = None) -> BaseTool:
    kept = purse or Purse()

    @tool
    def pay(
        amount: int, account: Annotated[str, InjectedToolArg], purse: Annotated[Any, InjectedToolArg] = kept
    ) -> str:
        """Pay."""
        purse.paid.append((account, amount))
        return "paid"

    return pay


def test_an_approval_covers_the_arguments_that_a_caller_injects(sidecar: Sidecar, one: Any) -> None:
    purse, accounts = Purse(), iter(["DE-1", "XX-attacker"])
    pay = from_account(purse)
    node = lambda s: {"out": pay.invoke({"amount": 5, "account": next(accounts)})}
    govern(graph := one(node, checkpointer=InMemorySaver()), contracts={"n": paying()}, sidecar=sidecar)
    [question] = graph.invoke({"out": ""}, CONFIG)["__interrupt__"]
    sidecar.approvals.decide(question.id, "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert {"amount": 5, "account": "DE-1"} == question.value["what"]["args"]
    assert [] == purse.paid


def test_a_constraint_holds_for_an_injected_argument(sidecar: Sidecar, one: Any) -> None:
    purse = Purse()
    pay = from_account(purse)
    contract = Contract(tools=[Tool("pay", where={"account": one_of("DE-1")})])
    node = lambda s: {"out": pay.invoke({"amount": 5, "account": "XX-attacker"})}
    govern(graph := one(node), contracts={"n": contract}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == purse.paid


def test_an_edit_leaves_alone_what_a_caller_injected(sidecar: Sidecar, one: Any) -> None:
    purse = Purse()
    edited_to({"amount": 3}, from_account(), {"amount": 5, "account": "DE-1", "purse": purse}, sidecar, one)

    assert [("DE-1", 3)] == purse.paid


def test_what_langgraph_fills_in_is_nobodys_to_decide(sidecar: Sidecar, one: Any) -> None:
    """State and runtime are not the caller's, are too large for a card, and differ at each run."""
    seen: list[Any] = []

    @tool
    def pay(amount: int, state: Annotated[dict[str, Any], InjectedState], runtime: ToolRuntime) -> str:
        """Pay."""
        seen.append((amount, state["out"], runtime.tool_call_id))
        return "paid"

    graph = one(ToolNode([pay]), checkpointer=InMemorySaver())
    govern(graph, contracts={"n": Contract(tools=[Tool("pay", approval=Approval("money"))])}, sidecar=sidecar)
    given = {"messages": [calling(("pay", {"amount": 5, "state": {"out": "forged"}}))], "out": "real"}
    [question] = graph.invoke(given, CONFIG)["__interrupt__"]
    sidecar.approvals.decide(question.id, "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert {"amount": 5} == question.value["what"]["args"]
    assert [(5, "real", "c0")] == seen
