"""An effect begins only on a checkpoint that is stored; LangGraph itself goes on while it is still being written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from governance import Contract, Sidecar, SideEffect, declares, effect, govern
from governance.errors import LedgerError

MAY = {"*": Contract(tools=["pay"])}


class Slow(InMemorySaver):
    """Takes its time, as a disk may; `fails` at the checkpoint of that step."""

    def __init__(self, fails: int | None = None) -> None:
        super().__init__()
        self.stored: list[int] = []
        self.fails = fails

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        time.sleep(0.1)
        if metadata["step"] == self.fails:
            raise OSError("disk full")
        self.stored.append(metadata["step"])
        return super().put(config, checkpoint, metadata, new_versions)

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        await asyncio.sleep(0.1)
        self.stored.append(metadata["step"])
        return InMemorySaver.put(self, config, checkpoint, metadata, new_versions)


@pytest.fixture
def paying(line: Any, sidecar: Sidecar) -> Callable[..., Any]:
    """A graph whose second node pays; the tool notes what had been stored when its code began."""

    def build(saver: Slow, found: list[list[int]], node: Any = None) -> Any:
        @declares(SideEffect("external"))
        @tool
        def pay() -> None:
            """Pays."""
            found.append(list(saver.stored))

        pays = node or (lambda state: pay.invoke({}))
        graph = line(compiled={"checkpointer": saver}, a=lambda state: {"out": "x"}, b=pays)
        return govern(graph, contracts=MAY, sidecar=sidecar)

    return build


def test_an_effect_waits_for_the_checkpoint_it_begins_from(paying: Any, thread: Any) -> None:
    found: list[list[int]] = []
    paying(Slow(), found).invoke({"out": ""}, thread, durability="async")

    assert [[-1, 0, 1]] == found


def test_an_effect_in_async_code_waits_too(paying: Any, thread: Any) -> None:
    saver, found = Slow(), list[list[int]]()

    async def node(state: Any) -> None:
        async with effect("pay") as pay:
            if pay.fresh:
                found.append(list(saver.stored))

    asyncio.run(paying(saver, found, node).ainvoke({"out": ""}, thread, durability="async"))

    assert [[-1, 0, 1]] == found


def test_code_that_blocks_its_event_loop_does_not_wait_for_itself(paying: Any, thread: Any) -> None:
    saver, found = Slow(), list[list[int]]()

    async def node(state: Any) -> None:
        with effect("pay") as pay:
            if pay.fresh:
                found.append(list(saver.stored))

    asyncio.run(asyncio.wait_for(paying(saver, found, node).ainvoke({"out": ""}, thread, durability="async"), 20))

    assert 1 == len(found)


def test_no_effect_begins_on_a_checkpoint_that_is_lost(paying: Any, thread: Any) -> None:
    found: list[list[int]] = []

    with pytest.raises(LedgerError, match="the checkpoint that b began from could not be stored.*disk full"):
        paying(Slow(fails=1), found).invoke({"out": ""}, thread, durability="async")
    assert [] == found


def test_a_run_that_stores_nothing_before_its_end_is_not_held_up(paying: Any, thread: Any) -> None:
    found: list[list[int]] = []
    paying(Slow(), found).invoke({"out": ""}, thread, durability="exit")

    assert [[]] == found
