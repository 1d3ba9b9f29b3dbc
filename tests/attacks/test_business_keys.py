"""One business key is one effect, wherever it is asked for."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from governance import SideEffect, declares
from governance.errors import (
    ContractViolation,
    EffectInDoubt,
)
from tests.attacks.answers import CONFIG
from tests.attacks.tills import MAY, Till

KEYED = SideEffect("external", key="refund:{order}")


def test_one_business_key_at_two_places_of_a_session_is_one_effect(ruled: Any, line: Any) -> None:
    till = Till(KEYED)
    node = lambda s: {"out": till.pay.invoke({"amount": 5, "order": "7"})}
    graph = ruled(line(a=node, b=node), contracts=MAY)

    assert "paid 5" == graph.invoke({"out": ""}, CONFIG)["out"]
    assert [5] == till.paid


def test_an_outcome_that_updates_the_state_fits_the_call_it_is_found_by(ruled: Any, line: Any) -> None:
    """The other session's model asked under another id, and the answer has to stand under that one."""
    done: list[str] = []

    @declares(KEYED)
    @tool
    def pay(order: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Pay."""
        done.append(order)
        return Command(update={"other": "paid", "messages": [ToolMessage("paid", tool_call_id=tool_call_id)]})

    tools = ToolNode([pay], handle_tool_errors=False)
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, t=tools), contracts=MAY)
    answers = []
    for session in "ab":
        asked = AIMessage("", tool_calls=[{"name": "pay", "args": {"order": "7"}, "id": f"call-{session}"}])
        said = graph.invoke({"messages": [asked]}, {"configurable": {"thread_id": session}})
        answers.append((said["other"], said["messages"][-1].tool_call_id))

    assert [("paid", "call-a"), ("paid", "call-b")] == answers
    assert ["7"] == done


def test_one_business_key_with_two_amounts_is_for_a_person(ruled: Any, line: Any) -> None:
    till, amounts = Till(KEYED), iter([5, 6])
    node = lambda s: {"out": till.pay.invoke({"amount": next(amounts), "order": "7"})}
    with pytest.raises(EffectInDoubt):
        ruled(line(a=node, b=node), contracts=MAY).invoke({"out": ""}, CONFIG)

    assert [5] == till.paid


@pytest.mark.parametrize("key", ["refund:{number}", "refund:{0}", "refund:{order.id}", "refund:{order[x]}"])
def test_a_business_key_that_does_not_fit_its_arguments_is_refused(key: str, ruled: Any, line: Any) -> None:
    till = Till(SideEffect("external", key=key))
    graph = ruled(line(n=lambda s: {"out": till.pay.invoke({"amount": 5, "order": "7"})}), contracts=MAY)
    with pytest.raises(ContractViolation):
        graph.invoke({"out": ""}, CONFIG)

    assert [] == till.paid


@pytest.mark.parametrize("order", ["", None])
def test_a_business_key_of_nothing_is_refused(order: Any, ruled: Any, line: Any) -> None:
    """Everything that came without an order would be one order."""
    done: list[Any] = []
    made = StructuredTool.from_function(lambda order=None: done.append(order), name="pay", description="Pay.")
    pay = declares(KEYED)(made)
    with pytest.raises(ContractViolation):
        ruled(line(n=lambda s: {"out": str(pay.invoke({"order": order}))}), contracts=MAY).invoke({"out": ""}, CONFIG)

    assert [] == done
