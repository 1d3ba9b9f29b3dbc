"""The load that a stop has to reach: threads and asyncio tasks that call governed tools as fast as they can.

Every tool's body notes the time it starts at, on the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, StateGraph

from governance import Contract, Policy, Sidecar, SideEffect, declares, govern
from governance.errors import Halted
from governance.policy_halts import HaltRule

POLICY = Policy(halt=(HaltRule(when="errors", over=1, within=3600, of="all"),))
"""The second error stops everything."""
WARM = 1
"""Calls of each worker after which a trial may begin: one with effects takes its time beside so many others."""


class State(TypedDict):
    out: str


class Load:
    """Workers on one Sidecar: threads that call sync tools, one of them with effects, and tasks with async ones."""

    def __init__(self, folder: Path, threads: int, tasks: int) -> None:
        self.sidecar = Sidecar(ledger=folder / "ledger.db", control=folder / "control.db")
        self.threads, self.tasks = threads, tasks
        self.starts = [0] * (threads + tasks)
        """When the last body of each worker began."""
        self.calls = [0] * (threads + tasks)
        self._erred = 0
        """When the body that failed last did so."""
        self._numbers = itertools.count()
        self._pool = ThreadPoolExecutor(threads + 1)
        self._graphs = [self._worker(number) for number in range(threads + tasks)]
        self._failing = self._graph(StructuredTool.from_function(self._fail, name="fails", description="fails"), "once")

    def begin(self) -> list[Future[None]]:
        """Let all workers run until they are stopped."""
        self.calls = [0] * (self.threads + self.tasks)
        running = [self._pool.submit(self._sync, number) for number in range(self.threads)]
        if self.tasks:
            running.append(self._pool.submit(asyncio.run, self._together()))
        return running

    def wait_warm(self) -> None:
        """Until every worker has got going."""
        while min(self.calls) < WARM:
            time.sleep(0.02)

    def last(self) -> int:
        """When the last body of all began."""
        return max(self.starts)

    def trip(self) -> int:
        """Two governed calls that fail, of which the second trips the rule; when its body did so."""
        for _ in range(2):
            with suppress(ValueError, Halted):
                self._failing.invoke({"out": ""}, self._thread())
        return self._erred

    def close(self) -> None:
        self._pool.shutdown()
        self.sidecar.close()

    def _sync(self, number: int) -> None:
        while self.calls[number] < WARM:  # the lifting of the last stop may not have arrived
            with suppress(Halted):
                self._graphs[number].invoke({"out": ""}, self._thread())

    async def _together(self) -> None:
        await asyncio.gather(*(self._async(number) for number in range(self.threads, len(self._graphs))))

    async def _async(self, number: int) -> None:
        while self.calls[number] < WARM:
            with suppress(Halted):
                await self._graphs[number].ainvoke({"out": ""}, self._thread())

    def _thread(self) -> Any:
        return {"configurable": {"thread_id": f"run {next(self._numbers)}"}}

    def _worker(self, number: int) -> Any:
        def body(n: int) -> str:
            self.starts[number] = time.monotonic_ns()
            self.calls[number] += 1
            return "done"

        async def abody(n: int) -> str:
            return body(n)

        name = f"work{number}"
        made: BaseTool = StructuredTool.from_function(body, coroutine=abody, name=name, description="works")
        if number == 0:
            made = declares(SideEffect("write"))(made)
        return self._graph(made, "async" if number >= self.threads else "sync")

    def _graph(self, made: BaseTool, how: str) -> Any:
        def node(state: State) -> None:
            for n in itertools.count():
                made.invoke({"n": n})

        async def anode(state: State) -> None:
            for n in itertools.count():
                await made.ainvoke({"n": n})
                await asyncio.sleep(0)

        chosen = {"sync": node, "async": anode, "once": lambda state: made.invoke({})}[how]
        graph = StateGraph(State).add_node("n", chosen).add_edge(START, "n").compile()
        return govern(graph, contracts={"n": Contract(tools=[made.name])}, policy=POLICY, sidecar=self.sidecar)

    def _fail(self) -> None:
        self._erred = time.monotonic_ns()
        raise ValueError("this one failed")
