"""How fast the ledger takes events and verifies them, what that costs, and whether memory stays flat.

Events are recorded beside a governed graph that runs all the time: of 200 bytes each, in 50 sessions, with
full hashing and group commit. Peers' figures stand in docs/ledger.md.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.options import options_of
from benchmarks.overhead import astep, governed
from benchmarks.postgres import empty_schema, server
from benchmarks.report import Target, report
from governance import Sidecar
from governance.plane.ledger import Ledger
from governance.plane.ledger_store import Place
from governance.plane.verify import verify

TARGETS = {
    "events_per_s": Target(10_000, "at least"),
    "cpu_us_per_event": Target(25),
    "verify_rows_per_s": Target(50_000, "at least"),
    "rss_growth_mb": Target(16),
    "lost": Target(0),
    "broken_chains": Target(0),
}
SESSIONS = 50
NODES = 20
OFFERED = 12_000
"""Events a second that are recorded beside the graph."""
FULL = 150_000
"""Events after which the queue has been as long as it may be."""
WRITERS = 4
BODY = {"args": {"order_id": "4711", "reason": "x" * 90}, "execution": "0123456789-ab", "us": 1234}


def record(ledger: Ledger, events: int, *, sessions: int = SESSIONS) -> None:
    """Record so many events, and wait where the writer is behind, as enforce mode does."""
    for number in range(events):
        if ledger.behind:
            ledger.wait_room()
        ledger.record(f"session-{number % sessions}", "tool.ended", path=f"n#{number}>pay.0", actor="pay", body=BODY)


def offered(ledger: Ledger, events: int) -> None:
    """Record so many events at a steady rate, as the traffic of a busy process would."""
    burst = 30
    began = time.perf_counter()
    for number in range(events // burst):
        record(ledger, burst)
        time.sleep(max(0.0, began + (number + 1) * burst / OFFERED - time.perf_counter()))


def throughput(place: Place, events: int, folder: Path) -> tuple[float, str]:
    """Events committed in a second while a graph runs in the same process; its own rows count too."""
    sidecar = Sidecar(ledger=Ledger(place), control=folder / "control.db")
    graph = governed(astep, sidecar, NODES)
    alone, _ = asyncio.run(_beside(graph, lambda: time.sleep(1)))
    sidecar.ledger.flush()
    started = time.perf_counter()
    nodes, spent = asyncio.run(_beside(graph, lambda: offered(sidecar.ledger, events)))
    sidecar.ledger.flush()
    whole = time.perf_counter() - started
    sidecar.close()
    note = f"beside {nodes / spent:.0f} governed nodes a second ({alone:.0f} alone), {OFFERED} events a second offered"
    return (events + 2 * nodes) / whole, note


async def _beside(graph: Any, work: Callable[[], None]) -> tuple[int, float]:
    """How many nodes ran, and for how long, while something else was done in a thread."""
    started, runs = time.perf_counter(), 0
    other = asyncio.create_task(asyncio.to_thread(work))
    while not other.done():
        await graph.ainvoke({"count": 1})
        runs += 1
    await other
    return runs * NODES, time.perf_counter() - started


def cpu_cost(place: Place, events: int) -> float:
    """CPU of the whole process for one event, from `record` to the disk, in microseconds."""
    ledger = Ledger(place)
    record(ledger, 1000)
    ledger.flush()
    started = time.process_time()
    record(ledger, events)
    ledger.flush()
    spent = time.process_time() - started
    ledger.close()
    return spent / events * 1e6


def memory_growth(place: Place, events: int) -> float:
    """How much the peak of memory rises, in megabytes, once the queue has been as long as it may be."""
    ledger = Ledger(place)
    record(ledger, FULL, sessions=5000)
    ledger.flush()
    before = peak_mb()
    record(ledger, events - FULL, sessions=5000)
    ledger.close()
    return peak_mb() - before


def peak_mb() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def verify_speed(place: Place) -> float:
    started = time.perf_counter()
    found = verify(place)
    assert found.ok, found.problems[:3]
    return found.events / (time.perf_counter() - started)


def many_writers(place: Place, events: int) -> tuple[int, int, float]:
    """Events lost and problems found where several processes write to one ledger, and events in a second."""
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(WRITERS + 1)
    writers = [context.Process(target=_write, args=(place, events, begin)) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    begin.wait()
    started = time.perf_counter()
    for writer in writers:
        writer.join()
    spent = time.perf_counter() - started
    found = verify(place)
    return WRITERS * (events + 1) - found.events, len(found.problems), WRITERS * events / spent


def _write(place: Place, events: int, begin: threading.Barrier) -> None:
    ledger = Ledger(place)
    ledger.record("begin", "x")
    ledger.flush()
    begin.wait()
    record(ledger, events)
    ledger.close()


def on_postgres(events: int, writers: int, folder: Path) -> tuple[dict[str, float | None], list[str]]:
    """The same figures on a server on this machine, which takes its part of the same processors."""
    with server() as url:
        place = empty_schema(url)
        speed, note = throughput(place, events, folder)
        cost = cpu_cost(empty_schema(url), events)
        lost, broken, together = many_writers(empty_schema(url), writers)
        figures: dict[str, float | None] = {
            "events_per_s_postgres": speed,
            "cpu_us_per_event_postgres": cost,
            "verify_rows_per_s_postgres": verify_speed(place),
            "lost_postgres": lost,
            "broken_chains_postgres": broken,
        }
    return figures, [f"PostgreSQL: {note}; {WRITERS} processes together {together:.0f} events a second"]


def main(argv: list[str] | None = None) -> int:
    wanted = options_of(
        "ledger", __doc__, quick="fewer events; ends within 50 s", data="not used: this benchmark makes its own events"
    )
    options = wanted.parse_args(argv)
    events, flat, writers = (30_000, 300_000, 3_000) if options.quick else (300_000, 1_000_000, 50_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Memory first: what comes later would hide behind a peak that is already there.
        growth = memory_growth(folder / "flat.db", flat)
        speed, note = throughput(folder / "ledger.db", events, folder)
        lost, broken, together = many_writers(folder / "many.db", writers)
        figures: dict[str, float | None] = {
            "events_per_s": speed,
            "cpu_us_per_event": cpu_cost(folder / "cost.db", events),
            "verify_rows_per_s": verify_speed(folder / "flat.db"),
            "rss_growth_mb": growth,
            "lost": lost,
            "broken_chains": broken,
        }
        notes = [f"SQLite: {note}; {WRITERS} processes together {together:.0f} events a second"]
        notes.append(f"rss_growth_mb: over {flat:,} events as fast as they can be recorded, from the {FULL:,}th on")
        targets = dict(TARGETS)
        with suppress(ImportError):
            theirs, more = on_postgres(events // 2, writers // 2, folder)
            figures |= theirs
            notes += more
            targets |= {"lost_postgres": Target(0), "broken_chains_postgres": Target(0)}
    return report("ledger", figures, targets, notes="\n".join(notes), only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
