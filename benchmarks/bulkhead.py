"""Bulkheads: what others feel when one dependency is a hundred times slower, and whether the limit holds for all.

Two graphs in one worker, each asking a dependency of its own, 60 and 120 times a second; then the second one's
takes 0.5 s instead of 5 ms. `others_goodput` is how many answers the first graph has within half a second then,
for each it had before: the worse of a worker of 128 threads and of one event loop, with the rules of a bulkhead
that hold where nothing else is set. `most_at_once` counts the calls of three processes at a dependency that may
have six; one of them is killed, another frozen until its lease is over.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool
from langgraph.graph import START, StateGraph

from benchmarks.breaker_worker import State
from benchmarks.bulkhead_crowd import LIMIT, crowded
from benchmarks.options import options_of
from benchmarks.report import Target, report
from governance import Contract, Sidecar, SideEffect, declares, govern

TARGETS = {"others_goodput": Target(0.95, "at least"), "most_at_once": Target(LIMIT)}
QUICK, SLOWER = 0.005, 100
RATES = {"quick": 60, "other": 120}
THREADS = 128
IN_TIME = 0.5
RULES = "[bulkhead]\n"


class Pair:
    """Two graphs of one worker; `seconds` says how long the second one's dependency takes."""

    def __init__(self, folder: Path, rules: str) -> None:
        (folder / "sidecar.toml").write_text(rules)
        self.seconds = QUICK
        self.good = 0
        self._folder = folder
        self._sidecar = Sidecar(ledger=folder / "ledger.db")
        self.graphs = {"quick": self._graph("quick", lambda: QUICK), "other": self._graph("other", self._slow)}

    def _slow(self) -> float:
        return self.seconds

    def _graph(self, name: str, seconds: Callable[[], float]) -> Any:
        def ask() -> str:
            time.sleep(seconds())
            return "found"

        async def aask() -> str:
            await asyncio.sleep(seconds())
            return "found"

        tool = declares(SideEffect("read"))(
            StructuredTool.from_function(ask, coroutine=aask, name=name, description="Asks.")
        )

        def node(state: State) -> State:
            return {"out": tool.invoke({})}

        async def anode(state: State) -> State:
            return {"out": await tool.ainvoke({})}

        graphs = {}
        for kind, one in (("threads", node), ("tasks", anode)):
            graph = StateGraph(State).add_node("ask", one).add_edge(START, "ask").compile()
            contracts = {"ask": Contract(tools=[name])}
            policy = self._folder / "sidecar.toml"
            graphs[kind] = govern(graph, contracts=contracts, policy=policy, sidecar=self._sidecar)
        return graphs

    def counted(self, name: str, came: float) -> None:
        self.good += name == "quick" and time.monotonic() - came < IN_TIME

    def call(self, name: str, came: float) -> None:
        try:
            self.graphs[name]["threads"].invoke({})
        except Exception:
            return
        self.counted(name, came)

    async def acall(self, name: str, came: float) -> None:
        try:
            await self.graphs[name]["tasks"].ainvoke({})
        except Exception:
            return
        self.counted(name, came)


def arrivals(seconds: float) -> list[tuple[float, str]]:
    return sorted((number / rate, name) for name, rate in RATES.items() for number in range(int(rate * seconds)))


def by_threads(pair: Pair, seconds: float) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        for at, name in arrivals(seconds):
            time.sleep(max(0.0, began + at - time.monotonic()))
            pool.submit(pair.call, name, began + at)


def by_tasks(pair: Pair, seconds: float) -> None:
    async def all_of_them() -> None:
        began, tasks = time.monotonic(), []
        for at, name in arrivals(seconds):
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            tasks.append(asyncio.create_task(pair.acall(name, began + at)))
        await asyncio.gather(*tasks)

    asyncio.run(all_of_them())


def goodput(load: Callable[[Pair, float], None], seconds: float, folder: Path, rules: str = RULES) -> float:
    """Answers in time while the other dependency is slow, for each while it is not."""
    folder.mkdir()
    pair, found = Pair(folder, rules), list[int]()
    for slowed in (1, SLOWER):
        pair.seconds, pair.good = QUICK * slowed, 0
        load(pair, seconds)
        found.append(pair.good)
    return found[1] / max(1, found[0])


def main(argv: list[str] | None = None) -> int:
    parser = options_of("bulkhead", __doc__, quick="3 s instead of 20 s of each load", data="not used")
    options = parser.parse_args(argv)
    seconds = 3.0 if options.quick else 20.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        threads = goodput(by_threads, seconds, folder / "threads")
        tasks = goodput(by_tasks, seconds, folder / "tasks")
        seen = crowded(folder / "crowd")
    notes = (
        f"others' goodput: {threads:.3f} with threads, {tasks:.3f} with tasks\n"
        f"calls of the killed, the frozen and the third process: {seen.shares}; of the third after the leases of the "
        f"others: {seen.after}, of the frozen one after it went on: {seen.again}"
    )
    figures = {"others_goodput": min(threads, tasks), "most_at_once": float(seen.most)}
    return report("bulkhead", figures, TARGETS, notes=notes, only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
