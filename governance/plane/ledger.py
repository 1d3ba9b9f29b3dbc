"""The append-only record: every event in a hash chain per session, written by one thread per process.

`record` never blocks: it puts the event on a queue that a writer thread commits in groups. `flushed`
gives an acknowledgement that can be waited for where something must be durable first. When the disk
refuses, `broken` is set, and enforce mode runs nothing any more.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from governance import canonical
from governance.errors import LedgerError
from governance.plane.ledger_file import GROUP, Event, Facts, Head, LedgerFile, head_of

WINDOW = 0.02
"""Seconds a group of events waits for company when nobody waits for it."""
BUSY = 64
BUSY_WINDOW = 0.2
"""Seconds it waits longer where so many events came meanwhile: the writer takes the interpreter's lock from
the graphs some 30 times a group, however large the group is, and a busy event loop pays for each."""
QUIET = 10
"""Windows without an event after which the writer sleeps until it is called."""
BATCH = 5000
QUEUE_LIMIT = 100_000


def spent(body: Mapping[str, Any]) -> int:
    """The tokens an event counts against its session: the whole number under `tokens` in its body."""
    tokens = body.get("tokens")
    return tokens if type(tokens) is int and 0 <= tokens < 2**53 else 0


class Ledger:
    """One ledger file, shared by every thread of this process and by other processes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.broken: LedgerError | None = None
        self._reset()
        _LIVE.add(self)

    def record(
        self,
        session: str,
        kind: str,
        *,
        path: str = "",
        actor: str = "",
        body: dict[str, Any] | None = None,
        tokens: int = 0,
    ) -> None:
        """Queue one event; it is durable once a `flushed` taken later is done."""
        content = body or {}
        if tokens:
            content = {**content, "tokens": tokens}
        # As text at once: what happens to the objects afterwards must not rewrite what happened.
        self._queue.append((session, time.time_ns(), kind, path, actor, encoded(content), spent(content)))
        if not self._awake:
            self._wake()

    def note(self, session: str, kind: str, path: str, actor: str, facts: Facts) -> None:
        """`record` for hot paths: the writer thread makes the body, so the facts must be values that never change."""
        self._queue.append((session, time.time_ns(), kind, path, actor, facts, 0))
        if not self._awake:
            self._wake()

    def flushed(self) -> Future[None]:
        """Done when everything recorded so far is on disk; fails with `LedgerError` when it cannot be."""
        done: Future[None] = Future()
        self._queue.append(done)
        self._hurry = True
        self._wake()
        self._urgent.set()
        return done

    def flush(self) -> None:
        """Wait until everything recorded so far is on disk."""
        self.flushed().result()

    async def aflush(self) -> None:
        await asyncio.wrap_future(self.flushed())

    def check(self) -> None:
        """Raise where the ledger is broken or so far behind that memory would be at risk."""
        if self.broken is not None:
            raise LedgerError(self.broken.reason, **self.broken.facts)  # a new one: one object would grow a traceback
        if len(self._queue) > QUEUE_LIMIT:
            raise LedgerError(
                f"{len(self._queue)} events wait for {self.path}: the disk is too slow", code="ledger-behind"
            )

    def head(self, session: str) -> Head | None:
        """Where the session's chain stands on disk (blocking; flush first to include what is queued)."""
        return head_of(self.path, session)

    def close(self) -> None:
        """Write what is queued and end the writer thread; the next `record` starts it again."""
        thread = self._thread
        if thread is None or thread.ident == threading.get_ident():
            return
        self._stop = True
        self._urgent.set()
        thread.join()

    def _reset(self) -> None:
        self._queue: deque[Event | Future[None]] = deque()
        self._lock = threading.Lock()
        self._awake = False
        self._urgent = threading.Event()
        self._hurry = False
        self._stop = False
        self._thread: threading.Thread | None = None
        self.ready = False
        """Whether this process has once written to the file; a plain attribute, as every call asks."""

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._urgent.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._write, name="sidecar-ledger", daemon=True)
                    self._thread.start()

    def _write(self) -> None:
        """The writer thread: collect for a moment, commit, answer those who wait; sleep when nothing comes."""
        file, quiet = LedgerFile(self.path), 0
        try:
            while True:
                if not self._stop and not self._hurry:
                    self._urgent.wait(WINDOW)
                self._urgent.clear()  # before the question, so that no ring is lost between the two
                if not self._stop and not self._hurry and len(self._queue) >= BUSY:
                    self._urgent.wait(BUSY_WINDOW)
                    self._urgent.clear()
                hurried, self._hurry = self._hurry or self._stop, False
                batch = self._drain(whole=hurried or quiet > 0)
                if batch:
                    self._commit(file, batch)
                elif self._stop:
                    return
                quiet = 0 if len(batch) >= GROUP else quiet + 1
                if quiet > QUIET and not batch:
                    self._doze()
                    quiet = 0
        finally:
            file.close()
            self._stop, self._thread, self._awake = False, None, False
            if self._queue:
                self._wake()

    def _doze(self) -> None:
        """Sleep until somebody rings: from here on every `record` does."""
        self._awake = False
        if self._queue:  # it came while nobody was told to ring
            self._awake = True
        else:
            self._urgent.wait()
            self._urgent.clear()

    def _drain(self, *, whole: bool) -> list[Event | Future[None]]:
        """What is to be written now; the rest of a group waits for company while more keeps coming."""
        queue = self._queue
        ready = min(len(queue), BATCH)
        if not whole and ready > GROUP:
            ready -= ready % GROUP
        return [queue.popleft() for _ in range(ready)]

    def _commit(self, file: LedgerFile, batch: list[Event | Future[None]]) -> None:
        # Who was cancelled waits no more, and from here on nobody can be.
        waiting = [one for one in batch if isinstance(one, Future) and one.set_running_or_notify_cancel()]
        events = [one for one in batch if not isinstance(one, Future)]
        try:
            file.append(events, durable=bool(waiting))
            if self.broken is not None:
                raise self.broken
            self.ready = True
        except Exception as error:
            file.close()
            self.broken = self._explain(error)
            for one in waiting:
                one.set_exception(self.broken)
            return
        for one in waiting:
            one.set_result(None)

    def _explain(self, error: Exception) -> LedgerError:
        if isinstance(error, LedgerError):
            return error
        return LedgerError(
            f"the ledger {self.path} cannot be written ({error}); free the disk or mend its rights, then restart",
            path=str(self.path),
        )


def encoded(value: Any) -> str:
    """The stored text of a body or a part of it; a value whose own code fails is named, and the record goes on."""
    try:
        return canonical.text(value)
    except Exception as error:
        tokens = {"tokens": spent(value)} if isinstance(value, dict) else {}
        return canonical.text({"unrecordable": type(error).__name__, **tokens})


_LIVE: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork() -> None:
    # The child has neither the writer thread nor a right to the parent's connection or queue.
    for ledger in list(_LIVE):
        ledger._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
