"""What the server's checkpointer adds to LangGraph's: rollback of runs, copies, pruning; and where it keeps them."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from blockbuster import blockbuster_ctx
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from graphs.server import ServerSaver, checkpointer, store


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def ask(state: State) -> dict[str, Any]:
    return {"log": [interrupt("go on?")]}


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_CHECKPOINTS", str(tmp_path / "new" / "checkpoints.db"))
    monkeypatch.setenv("SIDECAR_STORE", str(tmp_path / "new" / "store.db"))


def with_saver(work: Callable[[ServerSaver, Any], Awaitable[Any]]) -> Any:
    """Run against a graph on the server's checkpointer, with blocking calls detected as the server does."""

    async def run() -> Any:
        async with checkpointer() as saver:
            builder = StateGraph(State)
            builder.add_node("first", lambda state: {"log": ["first"]})
            builder.add_node(ask)
            builder.add_edge(START, "first")
            builder.add_edge("first", "ask")
            return await work(saver, builder.compile(checkpointer=saver))

    with blockbuster_ctx():
        return asyncio.run(run())


def config(thread: str, run: str = "r1") -> Any:
    return {"configurable": {"thread_id": thread}, "metadata": {"run_id": run, "thread_id": thread}}


async def history(graph: Any, thread: str) -> list[Any]:
    return [one async for one in graph.aget_state_history({"configurable": {"thread_id": thread}})]


def test_the_checkpoints_of_a_run_can_be_taken_back() -> None:
    async def work(saver: ServerSaver, graph: Any) -> Any:
        await graph.ainvoke({"log": ["one"]}, config("t", "r1"))
        before = (await graph.aget_state(config("t"))).values
        await graph.ainvoke({"log": ["two"]}, config("t", "r2"))
        await saver.adelete_for_runs(["r2"])
        return before, (await graph.aget_state(config("t"))).values

    before, after = with_saver(work)

    assert {"log": ["one", "first"]} == before
    assert before == after


def test_a_copy_has_the_whole_history_and_what_waits_in_it() -> None:
    async def work(saver: ServerSaver, graph: Any) -> Any:
        await graph.ainvoke({"log": ["one"]}, config("t"))
        await saver.acopy_thread("t", "copy")
        return await history(graph, "t"), await history(graph, "copy")

    source, copy = with_saver(work)

    assert [one.values for one in source] == [one.values for one in copy]
    assert source[0].interrupts == copy[0].interrupts


def test_pruning_keeps_the_newest_state_and_its_question() -> None:
    async def work(saver: ServerSaver, graph: Any) -> Any:
        await graph.ainvoke({"log": ["one"]}, config("t"))
        before = await graph.aget_state(config("t"))
        await saver.aprune(["t"])
        return before, await history(graph, "t")

    before, after = with_saver(work)

    assert [before.values] == [one.values for one in after]
    assert before.interrupts == after[0].interrupts


@pytest.mark.parametrize("strategy", ["delete", "delete_all"])
def test_pruning_can_delete_all_of_a_thread_and_nothing_else(strategy: str) -> None:
    async def work(saver: ServerSaver, graph: Any) -> Any:
        await graph.ainvoke({"log": ["one"]}, config("t"))
        await graph.ainvoke({"log": ["one"]}, config("other"))
        await saver.aprune(["t"], strategy=strategy)
        return await history(graph, "t"), await history(graph, "other")

    pruned, other = with_saver(work)

    assert [] == pruned
    assert 3 == len(other)


def test_an_unknown_strategy_is_refused() -> None:
    async def work(saver: ServerSaver, graph: Any) -> None:
        await saver.aprune(["t"], strategy="some")

    with pytest.raises(ValueError, match="'some'"):
        with_saver(work)


def test_the_store_keeps_what_it_is_given() -> None:
    async def run() -> Any:
        async with store() as opened:
            await opened.aput(("customers", "ada"), "likes", {"what": "oak"})
        async with store() as opened:
            return await opened.aget(("customers", "ada"), "likes")

    with blockbuster_ctx():
        item = asyncio.run(run())

    assert {"what": "oak"} == item.value
