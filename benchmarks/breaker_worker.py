"""A process whose callers come all at once to a dependency that has been left alone: what it is told to do, it does.

Commands come as lines: a number lets so many callers come, `release` lets those go, with an error, that have
reached the dependency. What happens is told as lines: `reached`, `refused`, and `done` when all have gone. Its
time is in a file that all processes of a run look into, so that nobody has to wait for it.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import struct
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, StateGraph

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import CircuitOpen


class State(TypedDict, total=False):
    out: str


class SharedClock:
    """The time of all processes of a run; it stands still until somebody moves it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(struct.pack("d", 0.0))
        with path.open("r+b") as file:
            self._time = mmap.mmap(file.fileno(), 8)

    def __call__(self) -> float:
        return float(struct.unpack("d", self._time[:8])[0])

    def move(self, seconds: float) -> None:
        self._time[:8] = struct.pack("d", self() + seconds)


def tell(word: str, lock: threading.Lock = threading.Lock()) -> None:  # noqa: B008  # one lock for all callers is meant
    with lock:
        sys.stdout.write(word + "\n")
        sys.stdout.flush()


def governed(tool: BaseTool, node: Any, folder: Path) -> Any:
    graph = StateGraph(State).add_node("ask", node).add_edge(START, "ask").compile()
    sidecar = Sidecar(ledger=folder / "ledger.db", clock=SharedClock(folder / "clock"))
    contracts = {"ask": Contract(tools=[tool.name])}
    return govern(graph, contracts=contracts, policy=folder / "sidecar.toml", sidecar=sidecar)


class Threads:
    """Callers that are threads."""

    def __init__(self, folder: Path, callers: int) -> None:
        self._held = threading.Event()
        self._pool = ThreadPoolExecutor(callers)

        def ask() -> str:
            tell("reached")
            self._held.wait()
            raise ConnectionError("weather")

        tool = declares(SideEffect("read"))(StructuredTool.from_function(ask, name="ask", description="Asks."))
        self._graph = governed(tool, lambda state: {"out": tool.invoke({})}, folder)

    def come(self, callers: int) -> None:
        self._held.clear()
        door = threading.Barrier(callers)
        done = [self._pool.submit(self._call, door) for _ in range(callers)]
        threading.Thread(target=lambda: [one.result() for one in done] and tell("done")).start()

    def release(self) -> None:
        self._held.set()

    def _call(self, door: threading.Barrier) -> None:
        door.wait()
        try:
            self._graph.invoke({})
        except CircuitOpen:
            tell("refused")
        except ConnectionError:
            pass


class Tasks:
    """Callers that are tasks of an event loop."""

    def __init__(self, folder: Path, callers: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._held = asyncio.Event()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

        async def ask() -> str:
            tell("reached")
            await self._held.wait()
            raise ConnectionError("weather")

        tool = declares(SideEffect("read"))(
            StructuredTool.from_function(coroutine=ask, name="ask", description="Asks.")
        )

        async def node(state: State) -> State:
            return {"out": await tool.ainvoke({})}

        self._graph = governed(tool, node, folder)

    def come(self, callers: int) -> None:
        asyncio.run_coroutine_threadsafe(self._all(callers), self._loop)

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._held.set)

    async def _all(self, callers: int) -> None:
        self._held.clear()
        await asyncio.gather(*(self._call() for _ in range(callers)))
        tell("done")

    async def _call(self) -> None:
        try:
            await self._graph.ainvoke({})
        except CircuitOpen:
            tell("refused")
        except ConnectionError:
            pass


KINDS: dict[str, Callable[[Path, int], Threads | Tasks]] = {"threads": Threads, "tasks": Tasks}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.breaker_worker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("callers", type=int)
    options = parser.parse_args()
    crowd = KINDS[options.kind](options.folder, options.callers)
    tell("ready")
    for line in sys.stdin:
        if line.strip() == "release":
            crowd.release()
        else:
            crowd.come(int(line))


if __name__ == "__main__":
    main()
