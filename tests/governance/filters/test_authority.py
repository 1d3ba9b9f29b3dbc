"""Tools and their arguments, refusals that latch, and refusals that are answered to the model."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool

from governance import Contract, Sidecar, Tool, at_most, from_state, govern, one_of
from governance.errors import AuthorityRefused
from governance.testing.models import ScriptedChatModel


@pytest.fixture
def made() -> list[Any]:
    return []


@pytest.fixture
def pay(made: list[Any]) -> Any:
    @tool
    def pay(amount: int, to: str = "ann") -> str:
        """Pays."""
        made.append(amount)
        return f"paid {amount}"

    return pay


def calling(pay: Any, *args: dict[str, Any], swallow: bool = False) -> Any:
    def node(state: Any) -> Any:
        for one in args:
            try:
                found = pay.invoke(one)
            except AuthorityRefused:
                if not swallow:
                    raise
                found = "swallowed"
        return {"out": str(getattr(found, "content", found))}

    return node


@pytest.mark.parametrize(
    ("tools", "args", "words"),
    [
        ([], {"amount": 1}, "n may not call pay; its contract allows: none"),
        (["look", "find"], {"amount": 1}, "n may not call pay; its contract allows: find, look"),
        ([Tool("pay", where={"amount": at_most(50)})], {"amount": 51}, "amount must be a number up to 50, not 51"),
        ([Tool("pay", where={"to": one_of("bob")})], {"amount": 1}, "to must be one of 'bob', not 'ann'"),
        (
            [Tool("pay", where={"to": from_state("out")})],
            {"amount": 1, "to": "eve"},
            "must come from the state key 'out'",
        ),
        (
            [Tool("pay", where={"amount": lambda v, c: 1 / 0})],
            {"amount": 1},
            r"amount the constraint failed \(division",
        ),
    ],
)
def test_a_call_outside_the_contract_is_refused_before_it_runs(
    tools: Any, args: Any, words: str, pay: Any, made: Any, line: Any, sidecar: Sidecar, rows: Any
) -> None:
    graph = govern(line(n=calling(pay, args)), contracts={"n": Contract(tools=tools)}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match=words):
        graph.invoke({"out": "bob"})
    assert [] == made
    assert ["tool.refused"] == [row.kind for row in rows("tool")]


def test_a_swallowed_refusal_ends_the_node_and_nothing_more_starts(
    pay: Any, made: Any, line: Any, sidecar: Sidecar
) -> None:
    rule = Tool("pay", where={"amount": at_most(50)})
    graph = line(n=calling(pay, {"amount": 51}, {"amount": 5}, swallow=True))

    with pytest.raises(AuthorityRefused, match="up to 50, not 51"):
        govern(graph, contracts={"n": Contract(tools=[rule])}, sidecar=sidecar).invoke({"out": ""})
    assert [] == made


def test_after_a_refusal_no_model_is_asked_either(pay: Any, line: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["never"])

    def node(state: Any) -> Any:
        try:
            pay.invoke({"amount": 1})
        except AuthorityRefused:
            pass
        return {"out": model.invoke("hi").content}

    with pytest.raises(AuthorityRefused):
        govern(line(n=node), contracts={"n": Contract()}, sidecar=sidecar).invoke({"out": ""})
    assert [] == model.calls


def test_a_refusal_may_be_answered_so_that_the_node_can_go_on(
    pay: Any, made: Any, line: Any, sidecar: Sidecar, rows: Any
) -> None:
    rule = Tool("pay", where={"amount": at_most(50)}, refusals="answer")
    graph = line(n=calling(pay, {"amount": 51}, {"amount": 5}))
    found = govern(graph, contracts={"n": Contract(tools=[rule])}, sidecar=sidecar).invoke({"out": ""})

    assert ("paid 5", [5]) == (found["out"], made)
    assert ["authority"] == [row.body["code"] for row in rows("tool.answered")]


def test_an_answered_refusal_of_a_tool_call_is_a_tool_message(pay: Any, line: Any, sidecar: Sidecar) -> None:
    seen: list[Any] = []
    asked = {"type": "tool_call", "id": "c1", "name": "pay", "args": {"amount": 51}}
    rule = Tool("pay", where={"amount": at_most(50)}, refusals="answer")
    graph = line(n=lambda state: seen.append(pay.invoke(asked)) or {})
    govern(graph, contracts={"n": Contract(tools=[rule])}, sidecar=sidecar).invoke({"out": ""})

    assert isinstance(seen[0], ToolMessage)
    assert ("c1", "error") == (seen[0].tool_call_id, seen[0].status)
    assert "Refused: n may not call pay like this" in seen[0].content


def test_an_observed_node_calls_what_it_likes_and_is_on_record(
    pay: Any, made: Any, line: Any, sidecar: Sidecar, rows: Any
) -> None:
    graph = line(n=calling(pay, {"amount": 99}))
    govern(graph, contracts={"n": Contract.observe(reason="legacy")}, sidecar=sidecar).invoke({"out": ""})

    assert [99] == made
    assert [{"amount": 99, "to": "ann"}] == [row.body["args"] for row in rows("tool.ended")]
