"""Many branches read one history at once: none is shown what another said."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from governance import Context, Contract, Sidecar, govern
from governance.testing.models import ScriptedChatModel
from tests.governance.context.conversations import orderly, refused

BRANCHES = 12
SMALL = {"*": Contract(context=Context(history=800), routes=["work"])}


class State(TypedDict, total=False):
    history: list[Any]
    task: str


def fan(model: ScriptedChatModel) -> Any:
    """A graph whose branches each ask about the same history, under the same name."""

    async def work(state: State) -> dict[str, Any]:
        for number in range(3):
            await model.ainvoke([*state["history"], HumanMessage(f"{state['task']} step {number}")])
        return {}

    def send(state: State) -> list[Send]:
        return [Send("work", {"history": state["history"], "task": f"task {n}"}) for n in range(BRANCHES)]

    builder = StateGraph(State).add_node("split", lambda state: {}).add_node("work", work)
    return builder.add_edge(START, "split").add_conditional_edges("split", send, ["work"]).compile()


@pytest.mark.asyncio
async def test_branches_of_one_step_are_each_shown_their_own_task(sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["done"] * BRANCHES * 6)
    graph = govern(fan(model), contracts=SMALL, sidecar=sidecar)
    run = {"configurable": {"thread_id": "t"}}

    await asyncio.gather(*(graph.ainvoke({"history": orderly(12)}, run) for _ in range(2)))

    told = ["".join(str(message.content) for message in call.messages) for call in model.calls]
    assert BRANCHES * 6 == len(told)
    assert all(1 == text.count("task ") for text in told)
    assert all([] == refused(call.messages) for call in model.calls)
    endings = sorted(text.rpartition("task ")[2] for text in told)
    assert sorted(f"{n} step {step}" for n in range(BRANCHES) for step in range(3) for _ in range(2)) == endings


def test_threads_on_one_session_come_to_the_same_prompts(one: Any, sidecar: Sidecar) -> None:
    model, history = ScriptedChatModel(["done"] * 200), orderly(20)
    graph = one(lambda state: {"history": model.invoke(state["history"]) and []}, State)
    govern(graph, contracts={"n": Contract(context=Context(history=800))}, sidecar=sidecar)
    ends = [40 + 4 * (number % 10) + 1 for number in range(100)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda end: graph.invoke({"history": history[:end]}, {"configurable": {"thread_id": "t"}}), ends))

    prompts = {"\n".join(str(message.content) for message in call.messages) for call in model.calls}
    assert 100 == len(model.calls)
    assert 10 == len(prompts)
