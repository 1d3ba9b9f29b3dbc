"""The processes of the benchmark of stops: workers under load, and somebody at a shell; each does as it is told."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from benchmarks.halt_load import Load
from governance.cli import stops

END = "end"


class Process:
    """One of them, as the benchmark sees it: `tell` an order, then `hear` what came of it."""

    def __init__(self, orders: Any) -> None:
        self._orders = orders

    def tell(self, order: str) -> None:
        self._orders.send(order)

    def hear(self) -> int:
        return int(self._orders.recv())

    def ask(self, order: str) -> int:
        self.tell(order)
        return self.hear()


@contextmanager
def started(work: Callable[[Path, Any], None], folder: Path) -> Iterator[Process]:
    """A process of its own, with nothing of this one in it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(folder, theirs))
    process.start()
    theirs.close()
    try:
        yield Process(ours)
    finally:
        with suppress(OSError):  # it may have ended by itself, which says more
            ours.send(END)
        process.join()


def worker(folder: Path, orders: Any) -> None:
    """Runs its load from `begin` on; `fail` trips the rule; `last` tells when its last call began."""
    load, running = Load(folder, 2, 2), list[Future[None]]()
    for order in iter(orders.recv, END):
        if order == "begin":
            running = load.begin()
            load.wait_warm()
            orders.send(0)
        elif order == "fail":
            orders.send(load.trip())
        else:
            for one in running:
                one.result()
            orders.send(load.last())
    load.close()


def operator(folder: Path, orders: Any) -> None:
    """What `sidecar stop` and `resume` do, once the command is read; tells when that was."""
    files: Any = {"ledger": folder / "ledger.db", "control": folder / "control.db", "by": "benchmark", "as_json": True}
    with open(os.devnull, "w") as silent, redirect_stdout(silent):
        for order in iter(orders.recv, END):
            act = stops.stop if order == "stop" else stops.resume
            asked = time.monotonic_ns()
            act(stops.Scope.ALL, None, reason="trial", **files)
            orders.send(asked)
