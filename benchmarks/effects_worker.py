"""The process that is killed: it runs sessions to their end, then each once more from an earlier checkpoint.

What it got done it writes to a file of notes, which outlives it; what it finds there was done by those before it.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from benchmarks.effects_graph import graph_on
from benchmarks.effects_notes import Notes, Told, read_notes
from governance import Sidecar, operator
from governance.errors import EffectInDoubt

LEASE = 3.0
"""Seconds; shorter than users get, so that waiting for the leases of the dead does not fill the run."""
AT_ONCE = 8
LATE = 0.02
"""Seconds, at most, that a checkpoint is on its way."""
ACKNOWLEDGED = 0.02
"""Seconds between two rows of which the worker notes that they are on disk."""


class LateOnLoop(AsyncSqliteSaver):
    """Stores checkpoints and writes as late as on a busy disk: more can be lost in between."""

    async def aput(self, *args: Any) -> Any:
        await asyncio.sleep(random.uniform(0, LATE))
        return await super().aput(*args)

    async def aput_writes(self, *args: Any) -> None:
        await asyncio.sleep(random.uniform(0, LATE))
        await super().aput_writes(*args)


class LateInThread(SqliteSaver):
    """The same for sessions in threads."""

    def put(self, *args: Any) -> Any:
        time.sleep(random.uniform(0, LATE))
        return super().put(*args)

    def put_writes(self, *args: Any) -> None:
        time.sleep(random.uniform(0, LATE))
        super().put_writes(*args)


@dataclass(frozen=True, slots=True)
class Task:
    """One session, and how it is run."""

    session: str
    durability: Literal["async", "sync"]
    asks: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker finds everything: its slot's files, the ledger of all slots, and the service."""

    folder: Path
    slot: int
    port: int

    @property
    def notes(self) -> Path:
        return self.folder / f"notes-{self.slot}.jsonl"

    @property
    def checkpoints(self) -> str:
        return str(self.folder / f"checkpoints-{self.slot}.db")

    @contextmanager
    def sidecar(self) -> Iterator[Sidecar]:
        made = Sidecar(ledger=self.folder / "ledger.db")
        made.effects.lease = LEASE
        try:
            yield made
        finally:
            made.close()


def work(place: Place, tasks: Sequence[Task], *, asynchronous: bool) -> None:
    """Run what is not done yet of these sessions; the target of the process."""
    notes = Notes(place.notes)
    with place.sidecar() as sidecar, _acknowledging(sidecar, notes):
        if asynchronous:
            asyncio.run(_on_a_loop(place, sidecar, notes, tasks))
        else:
            _in_threads(place, sidecar, notes, tasks)


async def _on_a_loop(place: Place, sidecar: Sidecar, notes: Notes, tasks: Sequence[Task]) -> None:
    told, turn = read_notes(place.notes), asyncio.Semaphore(AT_ONCE)
    async with LateOnLoop.from_conn_string(place.checkpoints) as saver:
        graph = graph_on(sidecar, place.port, saver, asynchronous=True)

        async def one(task: Task) -> None:
            async with turn:
                await _session(Run(graph, task, notes, sidecar), told)

        await asyncio.gather(*map(one, tasks))


def _in_threads(place: Place, sidecar: Sidecar, notes: Notes, tasks: Sequence[Task]) -> None:
    told = read_notes(place.notes)
    with LateInThread.from_conn_string(place.checkpoints) as saver, ThreadPoolExecutor(AT_ONCE) as pool:
        graph = graph_on(sidecar, place.port, saver, asynchronous=False)
        runs = [InThread(graph, task, notes, sidecar) for task in tasks]
        for done in [pool.submit(_at_once, _session(run, told)) for run in runs]:
            done.result()


def _at_once(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what awaits nothing, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("a session in a thread had to wait for an event loop")


@contextmanager
def _acknowledging(sidecar: Sidecar, notes: Notes) -> Iterator[None]:
    """Note beside the work which rows of the ledger are on disk for certain."""
    over = threading.Event()

    def acknowledge() -> None:
        while not over.wait(ACKNOWLEDGED):
            token = uuid.uuid4().hex
            sidecar.ledger.record("acknowledged", "benchmark.row", body={"token": token})
            sidecar.ledger.flush()
            notes.add("kept", "acknowledged", token=token)

    thread = threading.Thread(target=acknowledge, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Run:
    """A session on an event loop."""

    graph: Any
    task: Task
    notes: Notes
    sidecar: Sidecar

    @property
    def config(self) -> dict[str, Any]:
        return {"configurable": {"thread_id": self.task.session}}

    async def invoke(self, given: Any, config: Any = None) -> Any:
        return await self.graph.ainvoke(given, config or self.config, durability=self.task.durability)

    async def history(self) -> list[Any]:
        return [one async for one in self.graph.aget_state_history(self.config)]

    async def change(self, config: Any, **given: Any) -> Any:
        return await self.graph.aupdate_state(config, {"asks": self.task.asks}, **given)


class InThread(Run):
    """A session in a thread of its own, where nothing is awaited."""

    async def invoke(self, given: Any, config: Any = None) -> Any:
        return self.graph.invoke(given, config or self.config, durability=self.task.durability)

    async def history(self) -> list[Any]:
        return list(self.graph.get_state_history(self.config))

    async def change(self, config: Any, **given: Any) -> Any:
        return self.graph.update_state(config, {"asks": self.task.asks}, **given)


async def _session(run: Run, told: Told) -> None:
    """To the end, and once more from an earlier checkpoint; what a person has to decide ends it for now."""
    session = run.task.session
    if session in told.forked:
        return
    if session not in told.begun:
        run.notes.add("begun", session)
    steps: list[tuple[str, Callable[[Run], Awaitable[Any]]]] = [("forked", _again)]
    if session not in told.ended:
        steps.insert(0, ("ended", _onward))
    for name, step in steps:
        try:
            state = await step(run)
        except EffectInDoubt as doubt:
            tool = str(doubt.facts.get("tool"))
            run.notes.add("parked", session, tool=tool, why=doubt.reason, phase=name, open=_open(run, tool))
            return
        except Exception as error:
            run.notes.add("failed", session, why=f"{type(error).__name__}: {error}", phase=name)
            return
        run.notes.add(name, session, receipts=state.get("receipts", {}))


def _open(run: Run, tool: str) -> int:
    """How many calls of the tool this session began and nobody saw the end of."""
    with run.sidecar.control.transaction() as db:
        (found,) = db.execute(
            "SELECT count(*) FROM effects WHERE session=? AND tool=? AND state='intent'", (run.task.session, tool)
        ).fetchone()
    return int(found)


async def _onward(run: Run, config: Any = None) -> Any:
    """Until nothing is left to do. An empty `next` would not say that: the graph itself is asked."""
    begins = config is None and not await run.history()
    state = await run.invoke({"session": run.task.session, "asks": run.task.asks} if begins else None, config)
    while "__interrupt__" in state:
        state = await run.invoke(Command(resume="yes"))
    return state


async def _again(run: Run) -> Any:
    """Let an operator rewind the session, and half of the time write to its state there.

    What an earlier process had rewound is finished first.
    """
    await _onward(run)
    earlier = random.choice([one for one in await run.history() if one.next])
    with operator("ann", reason="to see it again"):
        config = earlier.config
        if earlier.next != ("__start__",) and random.random() < 0.5:
            # Said here, since LangGraph takes a change after branches for one of the node that sent them.
            config = await run.change(config, as_node="branch" if earlier.next == ("inner",) else None)
        return await _onward(run, config)
