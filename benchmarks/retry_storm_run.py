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
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

from langchain_core.tools import StructuredTool
from langgraph.graph import END, START, StateGraph

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.plane.control import REFRESH, Control
from governance.reruns import JITTER

RETRIES = """
[retries]
attempts = 3
ratio = 0.1
on = ["DepTimeout"]

[breaker]
"""
POLICY = f"""{RETRIES}
[bulkhead]
concurrent = 12  # the dependency has ten workers
"""
QUICK_BREAKER = f"""{RETRIES}
window = 5
open = 2
probes = 5
"""
POLICIES = {"sidecar": POLICY, "sidecar without bulkhead": QUICK_BREAKER}


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


def looked_after(control: Control, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    """What the thread of a control file does, on the loop whose clock it would not know, and instead of it."""

    def turn() -> None:
        control._turn(threading.Event())

    async def looking() -> None:
        while True:
            turn()
            await asyncio.sleep(REFRESH)

    control.watch = lambda: None  # type: ignore[method-assign]  # its thread would look at the real time
    control.look = lambda: loop.call_soon(turn) and None  # type: ignore[method-assign]  # and at no other
    return loop.create_task(looking())


class Fleet:
    """Several governed graphs that share one dependency; requests go to one after the other.

    Each of `processes` has a Sidecar of its own on the one control file, as a process would.
    """

    def __init__(self, dep: Any, folder: Path, graphs: int, rules: str, processes: int = 1) -> None:
        policy = folder / "sidecar.toml"
        policy.write_text(rules, encoding="utf-8")
        self._tasks: list[asyncio.Task[None]] = []
        self.sidecars = [self._sidecar(folder) for _ in range(processes)]
        graphs = max(graphs, processes)
        self.graphs = [self._graph(dep, policy, number, self.sidecars[number % processes]) for number in range(graphs)]
        self._next = itertools.cycle(self.graphs)

    def _sidecar(self, folder: Path) -> Sidecar:
        loop = asyncio.get_running_loop()
        sidecar = Sidecar(ledger=folder / "ledger.db", clock=loop.time)
        self._tasks.append(looked_after(sidecar.control, loop))
        # On a virtual clock time runs on while a thread works: what a first call waits for is done before.
        sidecar.control.refresh()
        sidecar.ledger.record("before", "run.begun")
        sidecar.ledger.flush()
        return sidecar

    def _graph(self, dep: Any, policy: Path, number: int, sidecar: Sidecar) -> Any:
        async def ask() -> str:
            return str(await dep.call())

        tool = declares(SideEffect("read"))(StructuredTool.from_function(coroutine=ask, name="ask", description="Ask."))

        async def call(state: State) -> State:
            return {"out": await tool.ainvoke({})}

        builder = StateGraph(State).add_node("call", call).add_edge(START, "call").add_edge("call", END)
        graph = builder.compile(name=f"g{number}")
        return govern(graph, contracts={"call": Contract(tools=["ask"])}, policy=policy, sidecar=sidecar)

    async def ainvoke(self, given: Any) -> Any:
        return await next(self._next).ainvoke(given)

    def rows(self) -> dict[str, int]:
        """What was put on record, by its kind."""
        for sidecar in self.sidecars:
            sidecar.ledger.flush()
        with sqlite3.connect(self.sidecars[0].ledger.path) as db:
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
    parser.add_argument("--processes", type=int, default=1, help="Sidecars on one control file, among the graphs")
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
        fleets.append(Fleet(dep, folder, options.graphs, POLICIES[scenario], options.processes))
        return fleets[0]

    end = os._exit

    async def at_once(work: Any, *args: Any, **kwargs: Any) -> Any:
        """Work of a thread takes no time on the virtual clock."""
        threads.append(1)
        return work(*args, **kwargs)

    def ended(code: int) -> None:
        for fleet in fleets:
            print(json.dumps({**fleet.rows(), "threads": len(threads)}), flush=True)
        end(code)

    asyncio.to_thread = at_once  # type: ignore[assignment]  # a thread knows nothing of a virtual clock
    sim.build, os._exit = built, ended  # type: ignore[assignment]  # our graph in the published experiment
    with asyncio.Runner(loop_factory=sim.VLoop) as runner:
        runner.run(sim.main(options.scenario, options.seed))


if __name__ == "__main__":
    sys.exit(main())
