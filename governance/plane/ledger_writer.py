"""The thread that writes a ledger down, in groups: one of each process.

When the disk refuses, the ledger is broken for good. When a server is away, the thread tries again, with growing
pauses: what was queued is kept, nobody is told that it is on disk, and once that has taken `patience` seconds
everybody is refused until the server is back.
"""

from __future__ import annotations

import re
import time
import warnings
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from governance import canonical
from governance.errors import LedgerError
from governance.plane.bulk import GROUP
from governance.plane.disk import LOW
from governance.plane.ledger_queue import PASSING, Queue, Queued
from governance.plane.ledger_rows import SYSTEM, Event, Group
from governance.plane.ledger_store import AWAY, Store
from governance.plane.ledger_upkeep import Upkeep
from governance.plane.payloads import Kept

WINDOW = 0.02
"""Seconds a group of events waits for company when nobody waits for it."""
BUSY = 64
BUSY_WINDOW = 0.2
"""Seconds it waits longer where so many events came meanwhile: the writer takes the interpreter's lock from
the graphs some 30 times a group, however large the group is, and a busy event loop pays for each."""
BATCH = 5000


class Writer:
    """One life of the thread."""

    def __init__(self, queue: Queue, store: Store, upkeep: Upkeep) -> None:
        self._queue = queue
        self._store = store
        self._upkeep = upkeep

    def run(self) -> None:
        """Collect for a moment, commit, answer those who wait; sleep when nothing comes."""
        shared, small = self._queue, False
        try:
            while True:
                self._collect()
                hurried, shared.hurry = shared.hurry or shared.stop, False
                batch = self._drain(whole=hurried or small)
                if batch or shared.room.dropped or (shared.absence is not None and not shared.stop):
                    self._commit(batch)
                elif shared.stop:
                    return
                self._look()
                small = len(batch) < GROUP
                if not batch:  # a thread that polls takes the interpreter's lock from the graphs each time
                    shared.doze()
        finally:
            self._upkeep.finish(self._store)
            self._store.close()
            shared.ended()

    def _collect(self) -> None:
        """Let a group gather, unless somebody is in a hurry."""
        shared = self._queue
        if not shared.stop and not shared.hurry:
            shared.urgent.wait(WINDOW)
        shared.urgent.clear()  # before the question, so that no ring is lost between the two
        if not shared.stop and not shared.hurry and len(shared.queue) >= BUSY:
            shared.urgent.wait(BUSY_WINDOW)
            shared.urgent.clear()

    def _drain(self, *, whole: bool) -> list[Queued]:
        """What is to be written now; the rest of a group waits for company while more keeps coming."""
        queue = self._queue.queue
        ready = min(len(queue), BATCH)
        if not whole and ready > GROUP:
            ready -= ready % GROUP
        return [queue.popleft() for _ in range(ready)]

    def _commit(self, batch: list[Queued]) -> None:
        shared = self._queue
        waiting = [one for one in batch if isinstance(one, Future) and _is_waited_for(one)]
        events = [one for one in batch if not isinstance(one, Future)]
        heavy = sum([one[5].size for one in events if type(one[5]) is Kept])
        if shared.room.dropped and not shared.behind:
            dropped, since = shared.room.take_dropped()
            events.append(_said("ledger.dropped", {"events": dropped, "since": since}))
        try:
            group = self._appended(events, waiting)
            if shared.broken is not None and shared.broken.code not in PASSING:
                raise shared.broken
            shared.ready = True
        except Exception as error:
            self._store.close()
            shared.broken = self._explain(error)
            _tell(waiting, shared.broken)
            return
        finally:
            shared.room.give(heavy)
        for one in waiting:
            if not one.done():  # else it waited too long for a server, and was told so
                one.set_result(None)
        self._upkeep.committed(self._store, group)

    def _appended(self, events: list[Event], waiting: list[Future[None]]) -> Group | None:
        """Commit these events; where a server is away again and again, and always the same ones."""
        while True:
            try:
                group = self._store.append(events, durable=bool(waiting))
            except LedgerError as error:
                if error.code != AWAY:
                    raise
                self._wait_for_server(error, waiting)
            else:
                gone = self._queue.is_back()
                if gone is not None and gone.tries > 1:  # not only a connection that was lost
                    self._queue.queue.append(_said("ledger.away", {"since": gone.since, "tries": gone.tries}))
                return group

    def _wait_for_server(self, error: LedgerError, waiting: list[Future[None]]) -> None:
        """Sleep until it is time to try again; raises where this process ends and has waited long enough."""
        shared, absence = self._queue, self._queue.is_away()
        if absence.lasts(shared.patience):
            shared.broken = error
            _tell([*waiting, *(one for one in shared.queue.copy() if isinstance(one, Future))], error)
            if shared.stop:
                shared.queue.clear()
                with suppress(RuntimeWarning):  # where warnings are errors, they are not for this thread
                    warnings.warn(f"what was yet to be written is lost: {error.reason}", RuntimeWarning, stacklevel=2)
                raise error
        time.sleep(absence.pause(shared.patience))

    def _look(self) -> None:
        """Follow the room on the disk: say that it gets low, refuse to go on before it is out, go on after."""
        shared, mark = self._queue, self._upkeep.watermark
        state = mark.look() if shared.ready or shared.broken is not None else None
        if state is None:
            return
        shared.queue.append(_said("ledger.disk", {"state": state, "free": mark.left, "min_free": mark.wanted}))
        if state == "low":
            with suppress(RuntimeWarning):  # where warnings are errors, they are not for this thread
                mark.warn()
        if state == "out" and shared.broken is None:
            shared.broken = mark.error()
        elif shared.broken is not None and shared.broken.code == LOW:
            shared.broken = None

    def _explain(self, error: Exception) -> LedgerError:
        if isinstance(error, LedgerError):
            return error
        what, name = re.sub(r"\s+", " ", str(error)).strip(), self._queue.name
        return LedgerError(
            f"the ledger {name} cannot be written ({what}); free the disk or mend its rights, then restart", path=name
        )


def _is_waited_for(one: Future[None]) -> bool:
    """Whether somebody waits still: who was cancelled waits no more, and from here on nobody can be."""
    return (one.cancelled() or not one.done()) and one.set_running_or_notify_cancel()


def _tell(waiting: list[Future[None]], error: LedgerError) -> None:
    for one in waiting:
        with suppress(InvalidStateError):  # it was told before, or nobody waits any more
            one.set_exception(error)


def _said(kind: str, body: dict[str, Any]) -> Event:
    """What Sidecar itself has to say."""
    return SYSTEM, time.time_ns(), kind, "", SYSTEM, canonical.text(body), 0
