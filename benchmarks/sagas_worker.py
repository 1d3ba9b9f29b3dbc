"""The process that is killed: it runs sessions to their end, or undoes them; its successors go on with both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.effects_notes import Notes, Told, read_notes
from benchmarks.effects_worker import AT_ONCE, LateInThread, LateOnLoop, Place
from benchmarks.sagas_graph import Fate, Refused, graph_on
from governance import Sidecar, compensate
from governance.errors import ApprovalDenied, EffectInDoubt, SessionUndone, UndoHeld
from governance.plane.sagas import listed

BESIDE = 0.02
"""Seconds between two looks for sessions that are half undone."""


@dataclass(frozen=True, slots=True)
class Task:
    """One session, how it is run, and how it ends unless it is killed first."""

    session: str
    durability: Literal["async", "sync"]
    fate: Fate
    mails: bool


def work(place: Place, tasks: Sequence[Task], *, asynchronous: bool) -> None:
    """Run what is not over of these sessions; the target of the process."""
    notes, told = Notes(place.notes), read_notes(place.notes)
    with place.sidecar() as sidecar:
        if asynchronous:
            asyncio.run(_on_a_loop(place, sidecar, notes, told, tasks))
            return
        with LateInThread.from_conn_string(place.checkpoints) as saver, ThreadPoolExecutor(AT_ONCE) as pool:
            graph = graph_on(sidecar, place.port, saver, asynchronous=False)
            with _tidying_up(graph, sidecar, notes):
                for done in [pool.submit(_Run(graph, sidecar, task, notes, told).in_thread) for task in tasks]:
                    done.result()


async def _on_a_loop(place: Place, sidecar: Sidecar, notes: Notes, told: Told, tasks: Sequence[Task]) -> None:
    turn = asyncio.Semaphore(AT_ONCE)
    async with LateOnLoop.from_conn_string(place.checkpoints) as saver:
        graph = graph_on(sidecar, place.port, saver, asynchronous=True)

        async def one(task: Task) -> None:
            async with turn:
                await _Run(graph, sidecar, task, notes, told).on_a_loop()

        with _tidying_up(graph, sidecar, notes):
            await asyncio.gather(*map(one, tasks))


@contextmanager
def _tidying_up(graph: Any, sidecar: Sidecar, notes: Notes) -> Iterator[None]:
    """Go on, beside the work, with everything that was cut off, as `sidecar saga resume` does.

    Also with what the other process is at: both then undo one session.
    """

    over = threading.Event()

    def resume() -> None:
        while not over.wait(BESIDE):
            for session in [one.session for one in listed(sidecar.control) if one.state == "undoing"]:
                try:
                    compensate(graph, session, reason="")
                except UndoHeld:
                    continue
                except Exception as error:
                    notes.add("failed", session, why=f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=resume, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class _Run:
    graph: Any
    sidecar: Sidecar
    task: Task
    notes: Notes
    told: Told

    @property
    def config(self) -> dict[str, Any]:
        return {"configurable": {"thread_id": self.task.session}}

    @property
    def given(self) -> dict[str, Any]:
        task = self.task
        return {"session": task.session, "fate": task.fate, "mails": task.mails}

    def in_thread(self) -> None:
        if self._given_up():
            return
        try:
            given = None if list(self.graph.get_state_history(self.config)) else self.given
            state = self.graph.invoke(given, self.config, durability=self.task.durability)
        except Exception as error:
            self._failed(error)
        else:
            self.notes.add("ended", self.task.session, receipts=state["receipts"])

    async def on_a_loop(self) -> None:
        if await asyncio.to_thread(self._given_up):
            return
        try:
            history = [one async for one in self.graph.aget_state_history(self.config)]
            given = None if history else self.given
            state = await self.graph.ainvoke(given, self.config, durability=self.task.durability)
        except Exception as error:
            await asyncio.to_thread(self._failed, error)
        else:
            self.notes.add("ended", self.task.session, receipts=state["receipts"])

    def _given_up(self) -> bool:
        """A session that is to be given up is undone by whoever finds it after a kill."""
        session = self.task.session
        if session in self.told.ended or self._over():
            return True
        if session not in self.told.begun:
            self.notes.add("begun", session)
        elif self.task.fate == "given up":
            return self._undo()
        return False

    def _over(self) -> bool:
        saga = self.sidecar.sagas.of(self.task.session)
        return saga is not None and saga.state != "undoing"

    def _undo(self) -> bool:
        """False where the session did nothing yet, or came to its end and only could not say so."""
        try:
            if self.sidecar.sagas.of(self.task.session) is None and not self.sidecar.sagas.graphs(self.task.session):
                return False
            compensate(self.graph, self.task.session, reason="it was killed")
        except Exception as error:
            self._failed(error)
        return True

    def _failed(self, error: Exception) -> None:
        """These are wanted, and leave a session that is undone; anything else is a finding."""
        if isinstance(error, EffectInDoubt):
            self._undo()
        elif not isinstance(error, (Refused, ApprovalDenied, SessionUndone)):
            self.notes.add("failed", self.task.session, why=f"{type(error).__name__}: {error}")
