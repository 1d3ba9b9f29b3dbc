"""The chain and time: bounded code is abandoned or cancelled, and blocking work stays off the event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langgraph.errors import GraphInterrupt

from governance import chain
from governance.call import Proceed, Run
from governance.errors import DeadlineExceeded
from tests.governance.chains import Log, raising


class _Node:
    """As much of a node call as a deadline asks for."""

    name = place = path = execution = "n"

    def __init__(self) -> None:
        self.refused: list[Exception] = []
        self.node = self

    def refuse(self, refusal: Any) -> Any:
        self.refused.append(refusal)
        return refusal


def bounded(call: Any) -> Any:
    return (yield Proceed(call, 0.05))


def test_a_deadline_abandons_sync_code_and_latches_the_refusal() -> None:
    """The thread cannot be killed, so the node it works for is refused whatever it starts from then on."""
    node, free, ended = _Node(), threading.Event(), threading.Event()

    def slow(call: Any) -> None:
        free.wait()
        ended.set()

    with pytest.raises(DeadlineExceeded, match=r"n took longer than 0.05 s"):
        chain.run([bounded], node, slow)  # type: ignore[arg-type]
    free.set()

    assert ended.wait(5)
    assert ["deadline"] == [r.code for r in node.refused]  # type: ignore[attr-defined]


def test_a_deadline_cancels_async_code_and_does_not_wait_for_one_that_swallows_it() -> None:
    node, seen = _Node(), []

    async def slow(call: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)

    async def work() -> None:
        with pytest.raises(DeadlineExceeded):
            await chain.arun([bounded], node, slow)  # type: ignore[arg-type]
        await asyncio.sleep(0.01)

    asyncio.run(work())

    assert ["cancelled"] == seen


@pytest.mark.parametrize("error", [ValueError("x"), GraphInterrupt(()), StopIteration("x")])
def test_what_bounded_code_raises_in_time_comes_out_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)):
        chain.run([bounded], _Node(), lambda call: raising(error)())  # type: ignore[arg-type]


def test_a_cancelled_run_cancels_the_bounded_code_inside_it() -> None:
    seen: Log = []

    async def slow(call: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    def long(call: Any) -> Any:
        return (yield Proceed(call, 60))

    async def work() -> None:
        task = asyncio.create_task(chain.arun([long], _Node(), slow))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)

    asyncio.run(work())

    assert ["cancelled"] == seen


def test_blocking_work_runs_off_the_event_loop() -> None:
    """A filter's `Run` never blocks the loop, and an async form of it is preferred where there is one."""
    threads: list[int] = []

    def works(call: Any) -> Any:
        yield Run(lambda: threads.append(threading.get_ident()))
        return (yield Proceed(call))

    async def node(call: Any) -> str:
        return "done"

    assert "done" == asyncio.run(chain.arun([works], "c", node))  # type: ignore[arg-type]
    assert threading.get_ident() not in threads


def test_async_work_is_awaited_where_a_filter_offers_it() -> None:
    ran: Log = []

    async def awork() -> str:
        ran.append("async")
        return "a"

    def works(call: Any) -> Any:
        return (yield Run(lambda: ran.append("sync"), awork))

    async def node(call: Any) -> str:
        return "never"

    assert "a" == asyncio.run(chain.arun([works], "c", node))  # type: ignore[arg-type]
    assert ["async"] == ran
