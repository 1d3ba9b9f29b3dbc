"""Small governed graphs that a server serves in tests: money that moves, a step that waits, a model that streams."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AnyMessage
from langchain_core.tools import StructuredTool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from governance import Approval, Contract, Policy, SideEffect, Tool, at_most, declares, govern
from governance.gates import schema
from governance.policy import ApprovalPolicy, BudgetPolicy

TILL = Path("till.txt")
POLICY = Policy(approvals=ApprovalPolicy(local_operators=("alice",)), budget=BudgetPolicy(session_tokens=10_000))


class Input(TypedDict, total=False):
    amount: int


class State(Input, total=False):
    plan: str
    paid: str
    note: str
    messages: Annotated[list[AnyMessage], add_messages]


def put(amount: int) -> str:
    with TILL.open("a", encoding="utf-8") as till:
        till.write(f"{amount}\n")
    return f"paid {amount}"


async def aput(amount: int) -> str:
    return await asyncio.to_thread(put, amount)


pay = declares(SideEffect("write"))(
    StructuredTool.from_function(put, coroutine=aput, name="pay", description="Pay an amount.")
)


async def plan(state: State) -> dict[str, Any]:
    return {"plan": f"pay {state['amount']}"}


async def settle(state: State) -> dict[str, Any]:
    return {"paid": await pay.ainvoke({"amount": state["amount"]})}


async def close(state: State) -> dict[str, Any]:
    return {"note": "closed"}


async def speak(state: State) -> dict[str, Any]:
    return {"messages": [await FakeListChatModel(responses=["one two three"]).ainvoke("count")]}


async def wait(state: State) -> dict[str, Any]:
    get_stream_writer()("waiting")
    await asyncio.sleep(60)
    return {"paid": await pay.ainvoke({"amount": state["amount"]})}


async def block(state: State) -> dict[str, Any]:
    time.sleep(0.01)  # noqa: ASYNC251 - this is what the server must notice
    return {"note": "not noticed"}


def chain_of(*nodes: Any) -> Any:
    builder = StateGraph(State, input_schema=Input)
    before = START
    for node in nodes:
        builder.add_node(node)
        builder.add_edge(before, node.__name__)
        before = node.__name__
    return builder.compile()


ASKED = Tool("pay", where={"amount": at_most(100)}, approval=Approval("moves money"))
CONTRACTS = {
    "plan": Contract(reads=["amount"], writes=["plan"], gates=[schema("plan", str)]),
    "settle": Contract(reads=["amount"], writes=["paid"], tools=[ASKED], timeout=30),
    "close": Contract(reads=[], writes=["note"]),
    "speak": Contract(reads=[], writes=["messages"], tokens=2000),
    "wait": Contract(reads=["amount"], writes=["paid"], tools=["pay"], timeout=90),
    "block": Contract(reads=[], writes=["note"]),
}


def governed(*nodes: Any) -> Any:
    contracts = {node.__name__: CONTRACTS[node.__name__] for node in nodes}
    return govern(chain_of(*nodes), contracts=contracts, policy=POLICY)


till = governed(plan, settle, close)
speaker = governed(speak)
waiter = governed(wait)
blocker = governed(block)
