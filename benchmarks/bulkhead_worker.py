"""A process that asks one dependency as fast as its threads can, until its input ends; each call is written down.

A line of its file is when a call began to be at the dependency and when it had ended, in nanoseconds of the
machine's clock, which all processes share.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from pathlib import Path

from langchain_core.tools import StructuredTool
from langgraph.graph import START, StateGraph

from benchmarks.breaker_worker import State, tell
from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import Shed

SECONDS = 0.02
"""That a call takes."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulkhead_worker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("threads", type=int)
    options = parser.parse_args()
    over = threading.Event()

    with (options.folder / f"calls-{os.getpid()}").open("a", buffering=1) as calls:

        def ask() -> str:
            began = time.monotonic_ns()
            time.sleep(SECONDS)
            calls.write(f"{began} {time.monotonic_ns()}\n")
            return "found"

        tool = declares(SideEffect("read"))(StructuredTool.from_function(ask, name="ask", description="Asks."))
        graph = StateGraph(State).add_node("ask", lambda state: {"out": tool.invoke({})})
        governed = govern(
            graph.add_edge(START, "ask").compile(),
            contracts={"ask": Contract(tools=["ask"], waives=["loops"])},
            policy=options.folder / "sidecar.toml",
            sidecar=Sidecar(ledger=options.folder / "ledger.db"),
        )

        def asking() -> None:
            while not over.is_set():
                with contextlib.suppress(Shed):
                    governed.invoke({})

        threads = [threading.Thread(target=asking) for _ in range(options.threads)]
        for thread in threads:
            thread.start()
        tell("ready")
        sys.stdin.read()
        over.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
