"""One dependency becomes a hundred times slower: graphs that do not use it must not feel it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from governance import Contract, Sidecar, SideEffect, declares, govern

QUICK, SLOW = 0.004, 0.4
"""Seconds that an answer takes, and what becomes of it."""
WORKERS, EACH, RATE = 8, 60, 40.0
"""Threads of the worker; requests to each of the two dependencies, and how many of them a second."""
RULES = "[bulkhead]\nconcurrent = 2\nqueue = 1\npatience = 0.02\n"


def tool_that_takes(seconds: float, name: str) -> BaseTool:
    def ask() -> str:
        time.sleep(seconds)
        return "ok"

    return declares(SideEffect("read"))(StructuredTool.from_function(ask, name=name, description="Asks."))


def on_time(slow: float, rules: str, folder: Path, sidecar: Sidecar, one: Any) -> int:
    """How many of those who ask the quick dependency have their answer half a second after they came."""
    path = folder / "sidecar.toml"
    path.write_text(rules)

    def graph(seconds: float, name: str) -> Any:
        tool = tool_that_takes(seconds, name)
        made = one(lambda state: {"out": tool.invoke({})})
        return govern(made, contracts={"n": Contract(tools=[name])}, policy=path, sidecar=sidecar)

    quick, other = graph(QUICK, "quick"), graph(slow, "other")
    quick.invoke({"out": ""})
    done, lock = [0], threading.Lock()

    def request(asked: Any, came: float) -> None:
        try:
            asked.invoke({"out": ""})
        except Exception:
            return
        with lock:
            done[0] += asked is quick and time.monotonic() - came < 0.5

    with ThreadPoolExecutor(WORKERS) as pool:
        sent: list[Future[None]] = []
        for _ in range(EACH):
            sent += [pool.submit(request, asked, time.monotonic()) for asked in (other, quick)]
            time.sleep(1 / RATE)
    return done[0]


def test_with_a_bulkhead_the_others_go_on(tmp_path: Path, sidecar: Sidecar, one: Any) -> None:
    assert on_time(SLOW, RULES, tmp_path, sidecar, one) >= 0.95 * EACH


def test_without_one_all_threads_wait_at_it(tmp_path: Path, sidecar: Sidecar, one: Any) -> None:
    """What the bulkhead is measured against."""
    assert on_time(SLOW, "", tmp_path, sidecar, one) < 0.6 * EACH
