"""One scenario of the retry-storm experiment in a process of its own: it ends its process when it is over.

The experiment (`sim.py`: load, dependency, virtual clock, rivals) is taken from the folder that is given,
as it is; only its last statement, which runs it at once, is left out. The governor comes in where the
experiment builds its graph: the same graph, whose node asks the same dependency by a tool, through `govern`
with a policy file.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import itertools
import json
import os
import random
import sqlite3
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

from langchain_core.tools import StructuredTool
from langgraph.graph import END, START, StateGraph

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.reruns import JITTER

BREAKER = """
[retries]
attempts = 3
ratio = 0.1
on = ["DepTimeout"]

[breaker]
window = 5
open = 2
probes = 5
"""
POLICY = f"""{BREAKER}
[bulkhead]
concurrent = 12  # the dependency has ten workers
"""
POLICIES = {"sidecar": POLICY, "sidecar without bulkhead": BREAKER}


class State(TypedDict, total=False):
    out: str


def experiment(folder: Path) -> ModuleType:
    """The module of the experiment, without the statement that runs it."""
    path = folder / "sim.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert isinstance(tree.body[-1], ast.With), "sim.py is expected to end by running itself"
    del tree.body[-1]
    module = ModuleType("sim")
    exec(compile(tree, str(path), "exec"), vars(module))
    return module


class Fleet:
    """Several governed graphs that share one dependency; requests go to one after the other."""

    def __init__(self, sim: ModuleType, dep: Any, folder: Path, graphs: int, rules: str) -> None:
        policy = folder / "sidecar.toml"
        policy.write_text(rules, encoding="utf-8")
        self.sidecar = Sidecar(ledger=folder / "ledger.db", clock=sim.loop_t)
        # On a virtual clock time runs on while a thread works: what a first call waits for is done before.
        self.sidecar.control.refresh()
        self.sidecar.ledger.record("before", "run.begun")
        self.sidecar.ledger.flush()
        self.graphs = [self._graph(dep, policy, number) for number in range(graphs)]
        self._next = itertools.cycle(self.graphs)

    def _graph(self, dep: Any, policy: Path, number: int) -> Any:
        async def ask() -> str:
            return str(await dep.call())

        tool = declares(SideEffect("read"))(StructuredTool.from_function(coroutine=ask, name="ask", description="Ask."))

        async def call(state: State) -> State:
            return {"out": await tool.ainvoke({})}

        builder = StateGraph(State).add_node("call", call).add_edge(START, "call").add_edge("call", END)
        graph = builder.compile(name=f"g{number}")
        return govern(graph, contracts={"call": Contract(tools=["ask"])}, policy=policy, sidecar=self.sidecar)

    async def ainvoke(self, given: Any) -> Any:
        return await next(self._next).ainvoke(given)

    def rows(self) -> dict[str, int]:
        """What was put on record, by its kind."""
        self.sidecar.ledger.flush()
        with sqlite3.connect(self.sidecar.ledger.path) as db:
            return dict(db.execute("SELECT kind, count(*) FROM events GROUP BY kind"))


def flaky(dep: Any, sim: ModuleType, rate: float) -> None:
    """Let one call in so many fail at once, without any overload."""
    ask = dep.call

    async def call() -> Any:
        if random.random() < rate:
            dep.attempts[int(sim.loop_t())] += 1
            raise sim.DepTimeout
        return await ask()

    dep.call = call


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retry_storm_run", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scenario", required=True, help=f"{', '.join(POLICIES)}, or one that the experiment knows")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--graphs", type=int, default=1)
    parser.add_argument("--failing", type=float, default=0.0, help="share of calls that fail, instead of an overload")
    options = parser.parse_args()
    sim: Any = experiment(options.data)
    if options.failing:
        sim.SLOW = 1.0
    build, fleets, threads = sim.build, list[Fleet](), list[int]()
    folder = Path(tempfile.mkdtemp())
    JITTER.seed(options.seed)

    def built(scenario: str, dep: Any) -> Any:
        if options.failing:
            flaky(dep, sim, options.failing)
        if scenario not in POLICIES:
            return build(scenario, dep)
        fleets.append(Fleet(sim, dep, folder, options.graphs, POLICIES[scenario]))
        return fleets[0]

    end, off_loop = os._exit, asyncio.to_thread

    async def counted(*args: Any, **kwargs: Any) -> Any:
        threads.append(1)
        return await off_loop(*args, **kwargs)

    def ended(code: int) -> None:
        for fleet in fleets:
            print(json.dumps({**fleet.rows(), "threads": len(threads)}), flush=True)
        end(code)

    asyncio.to_thread = counted  # type: ignore[assignment]  # counts what leaves the virtual clock
    sim.build, os._exit = built, ended  # type: ignore[assignment]  # our graph in the published experiment
    with asyncio.Runner(loop_factory=sim.VLoop) as runner:
        runner.run(sim.main(options.scenario, options.seed))


if __name__ == "__main__":
    sys.exit(main())
