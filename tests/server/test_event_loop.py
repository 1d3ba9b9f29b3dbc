"""Nothing of governance blocks an event loop: one run with everything in it, under a detector of blocking calls."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from blockbuster import BlockingError, blockbuster_ctx
from langchain_core.language_models import FakeListChatModel
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from governance import Approval, Contract, Policy, Sidecar, SideEffect, Tool, at_most, declares, govern
from governance.gates import schema
from governance.policy import ApprovalPolicy, BudgetPolicy, LoopPolicy

POLICY = Policy(
    approvals=ApprovalPolicy(local_operators=("alice",)),
    budget=BudgetPolicy(session_tokens=10_000),
    loops=LoopPolicy(visits=10),
)


class State(TypedDict, total=False):
    amount: int
    said: str
    paid: str


@pytest.fixture
def graph(sidecar: Sidecar) -> Any:
    """A model under a budget and a gate, then an effect under constraint and approval, all of it async."""

    async def put(amount: int) -> str:
        return f"paid {amount}"

    pay = declares(SideEffect("write", key="pay:{amount}"))(
        StructuredTool.from_function(coroutine=put, name="pay", description="Pay an amount.")
    )

    async def speak(state: State) -> dict[str, Any]:
        answer = await FakeListChatModel(responses=["one two"]).ainvoke("count")
        return {"said": answer.content}

    async def settle(state: State) -> dict[str, Any]:
        return {"paid": await pay.ainvoke({"amount": state["amount"]})}

    builder = StateGraph(State)
    builder.add_node(speak)
    builder.add_node(settle)
    builder.add_edge(START, "speak")
    builder.add_edge("speak", "settle")
    asked = Tool("pay", where={"amount": at_most(50)}, approval=Approval("moves money"))
    contracts = {
        "speak": Contract(reads=[], writes=["said"], tokens=2000, gates=[schema("said", str)], approval=Approval()),
        "settle": Contract(reads=["amount"], writes=["paid"], tools=[asked], timeout=10),
    }
    return govern(builder.compile(checkpointer=InMemorySaver()), contracts=contracts, policy=POLICY, sidecar=sidecar)


def test_approvals_effects_budget_and_ledger_never_block(graph: Any, sidecar: Sidecar) -> None:
    config = {"configurable": {"thread_id": "t"}}

    async def run() -> Any:
        values = await graph.ainvoke({"amount": 7}, config)
        while "__interrupt__" in values:
            card = values["__interrupt__"][0].value["card"]
            answer = {"card": card, "decision": "approve", "by": "alice", "reason": "seen"}
            values = await graph.ainvoke(Command(resume=answer), config)
        await sidecar.ledger.aflush()
        return values

    with blockbuster_ctx():
        values = asyncio.run(run())

    assert "paid 7" == values["paid"]


def test_a_refused_rewind_never_blocks(graph: Any) -> None:
    config = {"configurable": {"thread_id": "t"}}

    async def run() -> None:
        await graph.ainvoke({"amount": 7}, config)
        first = [one async for one in graph.aget_state_history(config)][-1]
        with pytest.raises(Exception, match="a rewind to an earlier checkpoint"):
            await graph.ainvoke(None, first.config)

    with blockbuster_ctx():
        asyncio.run(run())


def test_the_detector_finds_what_blocks() -> None:
    async def block() -> None:
        time.sleep(0)  # noqa: ASYNC251 - what the detector is for

    with blockbuster_ctx(), pytest.raises(BlockingError):
        asyncio.run(block())
