"""One dependency answers no more: graphs that do not use it must not feel it, and without a bulkhead they do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import StructuredTool

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import Shed

WORKERS = 8
LIMIT = 60
"""Seconds that end a test which would never end."""


class Street:
    """A graph whose dependency is as quick as ever, and one whose dependency answers only when it is let go."""

    def __init__(self, folder: Path, sidecar: Sidecar, one: Any) -> None:
        self.let_go = threading.Event()
        self.reached = threading.Semaphore(0)
        self.at_it = 0
        self._make, self._sidecar, self._policy = one, sidecar, folder / "sidecar.toml"

    def graph(self, name: str, rules: str, how: str = "sync") -> Any:
        self._policy.write_text(rules)

        def quick() -> str:
            return "ok"

        def other() -> str:
            self.reached.release()
            self.let_go.wait(LIMIT)
            return "ok"

        async def aother() -> str:
            self.at_it += 1
            await asyncio.Event().wait()
            return "ok"

        function = {"quick": quick, "other": other}[name]
        tool = declares(SideEffect("read"))(
            StructuredTool.from_function(
                function, coroutine=aother if name == "other" else None, name=name, description="Asks."
            )
        )

        async def anode(state: Any) -> Any:
            return {"out": await tool.ainvoke({})}

        made = self._make(anode if how == "async" else lambda state: {"out": tool.invoke({})})
        return govern(made, contracts={"n": Contract(tools=[name])}, policy=self._policy, sidecar=self._sidecar)


@pytest.fixture
def street(tmp_path: Path, sidecar: Sidecar, one: Any) -> Iterator[Street]:
    made = Street(tmp_path, sidecar, one)
    yield made
    made.let_go.set()


def asked(graph: Any) -> str:
    try:
        return str(graph.invoke({"out": ""})["out"])
    except Shed:
        return "shed"


def test_with_a_bulkhead_the_others_go_on(street: Street) -> None:
    rules = '[dependency."other"]\nbulkhead = { concurrent = 2, queue = 1, patience = 0.02 }\n'
    quick, other = street.graph("quick", rules), street.graph("other", rules)

    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(30):
            pool.submit(asked, other)
        answers = [pool.submit(asked, quick) for _ in range(30)]
        done, _ = wait(answers, LIMIT)
        street.let_go.set()

    assert 30 == len(done)
    assert ["ok"] * 30 == [answer.result() for answer in answers]


def test_without_one_all_threads_wait_at_it(street: Street) -> None:
    """What the bulkhead is measured against."""
    quick, other = street.graph("quick", ""), street.graph("other", "")

    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(WORKERS):
            pool.submit(asked, other)
        for _ in range(WORKERS):
            street.reached.acquire()
        answers: list[Future[str]] = [pool.submit(asked, quick) for _ in range(30)]
        assert not any(answer.running() or answer.done() for answer in answers)
        street.let_go.set()


def test_on_an_event_loop_no_more_than_the_defaults_allow_are_held(street: Street) -> None:
    """200 come to what does not answer: fifty are at it, fifty wait, the rest is refused, and others are served."""
    quick, other = street.graph("quick", "[bulkhead]\n"), street.graph("other", "[bulkhead]\npatience = 60\n", "async")

    async def aasked(graph: Any) -> str:
        try:
            return str((await graph.ainvoke({"out": ""}))["out"])
        except Shed:
            return "shed"

    async def all_of_them() -> tuple[list[str], int]:
        stuck = [asyncio.create_task(aasked(other)) for _ in range(200)]
        for _ in iter(lambda: sum(one.done() for one in stuck) >= 100, True):
            await asyncio.sleep(0.005)
        answers = await asyncio.gather(*(aasked(quick) for _ in range(30)))
        refused = sum(one.done() and one.result() == "shed" for one in stuck)
        for one in stuck:
            one.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        return answers, refused

    answers, refused = asyncio.run(asyncio.wait_for(all_of_them(), LIMIT))

    assert ["ok"] * 30 == answers
    assert (50, 100) == (street.at_it, refused)
