"""Calls in another order than the first time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from governance import declares
from governance.errors import (
    EffectInDoubt,
)
from tests.attacks.answers import CONFIG
from tests.attacks.tills import EXTERNAL, MAY, Till, rewound
from tests.fixtures import calling


def test_tools_called_in_another_order_after_a_question_find_what_each_did(ruled: Any, line: Any) -> None:
    till, other, first = Till(), Till(), iter([True, False])
    outer = declares(EXTERNAL)(StructuredTool.from_function(other.pay.func, name="outer", description="Pay too."))

    def node(state: Any) -> Any:
        order = [till.pay, outer] if next(first) else [outer, till.pay]
        said = {one.name: one.invoke({"amount": 5 if one is outer else 7}) for one in order}
        return {"out": f"{said['pay']}, {said['outer']}{interrupt('?')}"}

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)

    assert "paid 7, paid 5." == graph.invoke(Command(resume="."), CONFIG)["out"]
    assert ([7], [5]) == (till.paid, other.paid)


def test_calls_of_one_tool_in_another_order_after_a_question_are_for_a_person(ruled: Any, line: Any) -> None:
    till, orders = Till(), iter([[1, 2], [2, 1]])

    def node(state: Any) -> Any:
        for amount in next(orders):
            till.pay.invoke({"amount": amount})
        interrupt("?")

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    with pytest.raises(EffectInDoubt):
        graph.invoke(Command(resume="."), CONFIG)

    assert [1, 2] == till.paid


def test_tool_calls_of_one_message_end_in_any_order(ruled: Any, line: Any) -> None:
    """The message says which call is which, whoever is first."""
    till = Till(during=lambda: time.sleep(0.1 if len(till.paid) == 1 else 0))
    asked = calling(*[("pay", {"amount": n}) for n in range(3)])
    tools = ToolNode([till.pay], handle_tool_errors=False)
    nodes = {"t": tools, "q": lambda s: {"out": interrupt("?")}}
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, **nodes), contracts=MAY)
    graph.invoke({"messages": [asked]}, CONFIG)
    graph.invoke(Command(resume="."), CONFIG)
    after = rewound(graph, "t") and graph.invoke(Command(resume="."), CONFIG)

    assert [0, 1, 2] == sorted(till.paid)
    assert ["paid 0", "paid 1", "paid 2"] == [one.content for one in after["messages"][1:]]
