"""Many governed runs in one process: memory stays flat, no thread and no file handle is left over.

Each run is a session of its own, with a tool effect, a gate and typed writes in enforce mode, some of
them async, some refused. Memory is compared between the end of the first fifth, when caches have filled,
and the end.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from rich.progress import track

from benchmarks.options import options_of
from benchmarks.report import Target, report
from governance import Contract, GovernanceError, Sidecar, SideEffect, Tool, Verdict, at_most, declares, govern

TARGETS = {
    "rss_growth_mb": Target(8.0),
    "threads_left": Target(0),
    "handles_left": Target(0),
    "refused_share": Target(0.2, "at least"),
}


class State(TypedDict, total=False):
    amount: int
    paid: str


@declares(SideEffect("write", idempotent=True))
@tool
def pay(amount: int) -> str:
    """Pay an amount."""
    return f"paid {amount}"


def paying(state: State) -> State:
    return {"paid": pay.invoke({"amount": state["amount"]})}


def told(call: Any, update: Any) -> Verdict:
    """The gate of the benchmark: a payment says what it paid."""
    return Verdict.passed() if update["paid"].startswith("paid") else Verdict.halt("nothing was paid")


def graph_on(sidecar: Sidecar) -> Any:
    builder = StateGraph(State)
    builder.add_node("pay", paying)
    builder.add_edge(START, "pay")
    contract = Contract(
        reads=["amount"], writes=["paid"], tools=[Tool("pay", where={"amount": at_most(50)})], gates=[told]
    )
    return govern(builder.compile(checkpointer=InMemorySaver()), contracts={"pay": contract}, sidecar=sidecar)


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def once(graph: Any, number: int) -> bool:
    """One session; True where it was refused."""
    config = {"configurable": {"thread_id": f"s{number}"}}
    given = {"amount": 10 if number % 4 else 1000}
    try:
        if number % 3:
            graph.invoke(given, config)
        else:
            asyncio.run(graph.ainvoke(given, config))
    except GovernanceError:
        return True
    finally:
        graph.checkpointer.delete_thread(f"s{number}")
    return False


def main(argv: list[str] | None = None) -> int:
    wanted = options_of(
        "soak", __doc__, quick="2,000 runs instead of 10,000", data="not used: this benchmark makes its own sessions"
    )
    options = wanted.parse_args(argv)
    runs = 2_000 if options.quick else 10_000
    if not Path("/proc/self/statm").exists():
        print("this benchmark reads /proc and runs on Linux only", file=sys.stderr)
        return 2
    threads, files = threading.active_count(), handles()
    with tempfile.TemporaryDirectory() as folder:
        sidecar = Sidecar(ledger=Path(folder) / "ledger.db")
        graph, refused, settled, started = graph_on(sidecar), 0, 0.0, time.monotonic()
        for number in track(range(runs), description="runs", disable=options.json):
            refused += once(graph, number)
            if number == runs // 5:
                gc.collect()
                settled = rss_mb()
        sidecar.ledger.flush()
        gc.collect()
        grown, seconds = rss_mb() - settled, time.monotonic() - started
        sidecar.close()
    figures = {
        "runs": float(runs),
        "rss_growth_mb": grown,
        "threads_left": float(threading.active_count() - threads),
        "handles_left": float(handles() - files),
        "refused_share": refused / runs,
        "seconds": seconds,
    }
    return report("soak", figures, TARGETS, only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
