"""The support agent of a small shop, every step inside its contract.

    login -> answer -> serve  (look up, cancel, refund: the customer confirms the exact action)
               ^   +-> refer  (a refund above the limit: a person of the shop decides)
               +------ both lead back to the answer

Who the customer is comes from the sign-in, never from the model. What the model asks for is checked
twice: by the contract before anybody is asked, and by the shop when it happens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, SystemMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from governance import Approval, Contract, Tool, at_least, at_most, govern
from governance.call import ToolCall as GovernedCall
from governance.contracts import effect_of
from graphs.models import chat_model
from tools.shop import Shop, create_shop
from tools.shop_desk import REFUSED
from tools.shop_errors import NotAuthenticated
from tools.shop_policy import load_policy
from tools.shop_tools import shop_tools

POLICY = load_policy()
LIMIT = POLICY.person_above_cents
STAFF = frozenset(os.environ.get("SHOP_STAFF", "shop-lead").split(","))
PROMPT = (
    "You are the support agent of a shop. The customer is signed in. When the customer wants a change, call the "
    "tool: the customer then confirms exactly that call. Follow this policy.\n\n" + POLICY.text
)


class Input(MessagesState, total=False):
    """What the visitor says and, once, the sign-in."""

    email: str
    postcode: str


class Chat(Input, total=False):
    """One conversation with one customer."""

    customer: str


class Asked(TypedDict):
    """One tool call of the model, and for whom."""

    customer: str
    call: ToolCall


def login(state: Chat) -> dict[str, Any]:
    """Find out who is asking; without that nothing is answered."""
    known, postcode = state.get("customer", ""), state.get("postcode", "")
    if not postcode:
        return {} if known else say("Please sign in with your email address and postcode.")
    try:
        found = shop().find_customer(state.get("email", ""), postcode=postcode).email
    except NotAuthenticated:
        return say("That email address and postcode do not belong together.") | {"postcode": ""}
    if known and known != found:
        return say("One conversation serves one customer; please start a new one.") | {"postcode": ""}
    return {"customer": found, "postcode": ""}


def answer(state: Chat) -> dict[str, Any]:
    """Let the model answer, or ask for tools."""
    model = chat_model().bind_tools(list(desk(state["customer"]).values()))
    return {"messages": [model.invoke([SystemMessage(PROMPT), *closed(state["messages"])])]}


def serve(state: Asked) -> dict[str, Any]:
    """Do one thing that the model asked for."""
    call, tools = state["call"], desk(state["customer"])
    if call["name"] not in tools:
        known = f"there is no tool {call['name']!r}; there are: {', '.join(tools)}"
        return {"messages": [ToolMessage(known, tool_call_id=call["id"] or "", status="error")]}
    return {"messages": [tools[call["name"]].invoke(call)]}


def signed_in(state: Chat) -> str:
    return "answer" if state["messages"][-1].type == "human" else END


def calls(state: Chat) -> list[Send] | str:
    """One step for each tool call, so that each is confirmed and recorded by itself."""
    last = state["messages"][-1]
    asked = last.tool_calls if isinstance(last, AIMessage) else []
    return [Send(desk_of(call), Asked(customer=state["customer"], call=call)) for call in asked] or END


def desk_of(call: ToolCall) -> str:
    amount = call["args"].get("amount_cents")
    return "refer" if isinstance(amount, int) and POLICY.needs_person(amount) else "serve"


def closed(messages: list[AnyMessage]) -> Iterator[AnyMessage]:
    """The conversation with an answer to every tool call, also to one the customer talked past."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    for message in messages:
        yield message
        for call in message.tool_calls if isinstance(message, AIMessage) else ():
            if call["id"] not in answered:
                yield ToolMessage("left open; look it up again", tool_call_id=call["id"] or "", status="error")


def shop() -> Shop:
    """The shop at `SHOP_DB`, made from the example's seed where there is none yet."""
    return create_shop(os.environ.get("SHOP_DB") or ".sidecar/shop.db")


def desk(customer: str) -> dict[str, BaseTool]:
    """The tools that serve this customer alone."""
    tools = shop_tools(shop(), customer_email=lambda: customer)
    return {tool.name: tool for tool in tools if tool.name != "look_up_customer"}


def say(text: str) -> dict[str, Any]:
    return {"messages": [AIMessage(text)]}


def possible(value: Any, call: GovernedCall) -> str | None:
    """Nobody is asked about what the shop would refuse anyway, an order of somebody else above all."""
    effect = effect_of(call.tool)
    said = effect.dry_run(call.args) if effect and effect.dry_run else REFUSED + "it cannot be tried"
    return said if said.startswith(REFUSED) else None


CONFIRM = Approval("the customer confirms exactly this", expires=3600)
DECIDE = Approval("a person of the shop decides refunds above the limit", expires=3 * 24 * 3600, by=STAFF)

CONTRACTS = {
    "login": Contract(reads=["messages", "email", "postcode", "customer"], writes=["messages", "postcode", "customer"]),
    "answer": Contract(reads=["messages", "customer"], writes=["messages"], tokens=8000, timeout=300),
    "serve": Contract(
        writes=["messages"],
        tools=[
            "look_up_order",
            Tool("cancel_order", where={"order_id": possible}, approval=CONFIRM, refusals="answer"),
            Tool(
                "refund_order",
                where={"amount_cents": at_most(LIMIT), "order_id": possible},
                approval=CONFIRM,
                refusals="answer",
            ),
        ],
    ),
    "refer": Contract(
        writes=["messages"],
        tools=[
            Tool(
                "refund_order",
                where={"amount_cents": at_least(LIMIT + 1), "order_id": possible},
                approval=DECIDE,
                refusals="answer",
            )
        ],
    ),
}


def build(checkpointer: BaseCheckpointSaver[Any] | None = None) -> CompiledStateGraph[Chat, None, Input, Chat]:
    """Wire the steps; nothing in here knows that it will be governed."""
    builder = StateGraph(Chat, input_schema=Input)
    builder.add_node(login)
    builder.add_node(answer)
    builder.add_node("serve", serve, input_schema=Asked)
    builder.add_node("refer", serve, input_schema=Asked)
    builder.add_edge(START, "login")
    builder.add_conditional_edges("login", signed_in, ["answer", END])
    builder.add_conditional_edges("answer", calls, ["serve", "refer", END])
    builder.add_edge("serve", "answer")
    builder.add_edge("refer", "answer")
    return builder.compile(checkpointer=checkpointer)


graph = govern(build(), contracts=CONTRACTS, policy=Path(__file__).parents[1] / "sidecar.toml")
