"""Constraints on what the state holds: also where a node is sent a payload, and where an argument is left out."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send
from pydantic import BaseModel

from governance import Contract, Sidecar, Tool, from_state, govern
from governance.errors import AuthorityRefused
from tests.fixtures import calling

BOUND = Contract(tools=[Tool("cancel", where={"order": from_state("order")})], routes=["work"])


class Says(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


class Order(AgentState[Any]):
    order: str


def cancelling() -> tuple[BaseTool, list[Any]]:
    cancelled: list[Any] = []

    @tool
    def cancel(order: str | None = None) -> str:
        """Cancel an order, or all of them."""
        cancelled.append(order)
        return "cancelled"

    return cancel, cancelled


def agent_that_asks_for(args: Any, cancel: BaseTool, sidecar: Sidecar) -> Any:
    model = Says(messages=iter([calling(("cancel", args)), AIMessage("done")]))
    agent = create_agent(model, [cancel], state_schema=Order)
    return govern(agent, contracts={"*": BOUND}, sidecar=sidecar)


def test_an_agent_may_do_what_a_constraint_on_its_state_allows(sidecar: Sidecar) -> None:
    cancel, cancelled = cancelling()
    agent_that_asks_for({"order": "A7"}, cancel, sidecar).invoke({"messages": [("user", "cancel")], "order": "A7"})

    assert ["A7"] == cancelled


@pytest.mark.parametrize("args", [{}, {"order": None}, {"order": "B8"}, {"order": ""}, {"order": ["A7"]}])
@pytest.mark.parametrize("given", [{"order": "A7"}, {}], ids=["a value", "none"])
def test_nothing_else_passes_a_constraint_on_the_state_of_an_agent(given: Any, args: Any, sidecar: Sidecar) -> None:
    cancel, cancelled = cancelling()

    with pytest.raises(AuthorityRefused):
        agent_that_asks_for(args, cancel, sidecar).invoke({"messages": [("user", "cancel")], **given})

    assert [] == cancelled


class Mapped(BaseModel):
    order: str = ""
    out: str = ""


@pytest.mark.parametrize("state", [Order, Mapped])
@pytest.mark.parametrize("order", [None, "A7"])
def test_leaving_an_argument_out_fits_no_value_of_any_state(order: Any, state: Any, sidecar: Sidecar, one: Any) -> None:
    cancel, cancelled = cancelling()
    graph = one(lambda s: {"out": cancel.invoke({})}, state)
    govern(graph, contracts={"n": BOUND}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"messages": []} if order is None else {"order": order})

    assert [] == cancelled


def sends(payload: Any, how: str, cancel: BaseTool, sidecar: Sidecar) -> Any:
    """A graph whose node `work` is sent a payload, and cancels the order named in that."""
    builder = StateGraph(Order)
    builder.add_node("work", lambda given: {"messages": [cancel.invoke({"order": given["order"]})]})
    builder.add_node("plan", lambda s: Command(goto=Send("work", payload)) if how == "command" else None)
    builder.add_edge(START, "plan")
    if how == "edge":
        builder.add_conditional_edges("plan", lambda s: [Send("work", payload)], ["work"])
    return govern(builder.compile(), contracts={"*": BOUND}, sidecar=sidecar)


@pytest.mark.parametrize("how", ["command", "edge"])
def test_what_is_sent_to_a_node_does_not_stand_for_the_state(how: str, sidecar: Sidecar) -> None:
    cancel, cancelled = cancelling()

    with pytest.raises(AuthorityRefused):
        sends({"order": "B8"}, how, cancel, sidecar).invoke({"messages": [], "order": "A7"})

    assert [] == cancelled


def test_what_is_sent_to_a_node_and_is_in_the_state_fits(sidecar: Sidecar) -> None:
    cancel, cancelled = cancelling()
    sends({"order": "A7"}, "edge", cancel, sidecar).invoke({"messages": [], "order": "A7"})

    assert ["A7"] == cancelled


def test_a_key_that_only_a_payload_has_is_read_from_that(sidecar: Sidecar) -> None:
    """A worker's own input: the state of the graph knows no such key."""
    cancel, cancelled = cancelling()
    contract = Contract(tools=[Tool("cancel", where={"order": from_state("mine")})])
    builder = StateGraph(Order)
    builder.add_node("work", lambda given: {"messages": [cancel.invoke({"order": given["mine"]})]})
    builder.add_conditional_edges(START, lambda s: [Send("work", {"mine": "C9"})], ["work"])
    govern(builder.compile(), contracts={"work": contract}, sidecar=sidecar).invoke({"messages": [], "order": "A7"})

    assert ["C9"] == cancelled
