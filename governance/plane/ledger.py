"""The append-only record: every event in a hash chain per session, written by one thread per process.

`record` never blocks: it puts the event on a queue that a writer thread commits in groups. `flushed`
gives an acknowledgement that can be waited for where something must be durable first. When the disk
refuses, `broken` is set, and enforce mode runs nothing any more. When it is slow, `behind` says so before
memory is at risk, and enforce mode waits for `wait_room`.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence, Sized
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from governance import canonical
from governance.errors import LedgerError
from governance.plane.anchors import Write
from governance.plane.disk import LOW, Watermark
from governance.plane.ledger_file import GROUP
from governance.plane.ledger_rows import SYSTEM, Event, Facts, Head
from governance.plane.ledger_store import Place, Store, is_server, store_of
from governance.plane.ledger_upkeep import Upkeep
from governance.plane.payloads import Kept, checked, restored, serialised
from governance.plane.redaction import Redaction
from governance.plane.spending import spent
from governance.plane.waiting import BYTES, HEAVY, POLL, Room
from governance.plane.waiting import EVENTS as QUEUE_LIMIT

WINDOW = 0.02
"""Seconds a group of events waits for company when nobody waits for it."""
BUSY = 64
BUSY_WINDOW = 0.2
"""Seconds it waits longer where so many events came meanwhile: the writer takes the interpreter's lock from
the graphs some 30 times a group, however large the group is, and a busy event loop pays for each."""
BATCH = 5000
MIN_FREE = 200_000_000
PATIENCE = 10.0
ANCHOR_EVERY = 60.0
COMPANIONS = Path(".sidecar/ledger.db")
"""Where the control file and checkpoints of a ledger on a server stand."""

_Queued = Event | Future[None]


class Ledger:
    """One ledger, in a file or on a server, shared by every thread of this process and by other processes."""

    def __init__(
        self,
        place: Place,
        *,
        key: bytes | None = None,
        anchor: Write | None = None,
        anchor_every: float = ANCHOR_EVERY,
        redact: Sequence[str] = (),
        min_free: int = MIN_FREE,
        patience: float = PATIENCE,
    ) -> None:
        self.place = place
        self.path = COMPANIONS if is_server(place) else Path(place)
        self.key = key
        self.patience = patience
        """Seconds a caller waits for a slow disk before it is refused."""
        self.redaction = Redaction().also(redact)
        self.broken: LedgerError | None = None
        self._anchor, self._anchor_every = anchor, anchor_every
        self._min_free = min_free
        self._store = store_of(place, key)
        self.name = self._store.name
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
        payloads: Mapping[str, Any] | None = None,
        digests: Mapping[str, str] | None = None,
    ) -> None:
        """Queue one event; it is durable once a `flushed` taken later is done.

        `payloads` are stored beside it and named in the body by a salted digest; of `digests` only the
        digest is recorded.
        """
        content: dict[str, Any] = body or {}
        if tokens:
            content = {**content, "tokens": tokens}
        # As text at once: what happens to the objects afterwards must not rewrite what happened.
        text = encoded(content)
        if self.redaction.rules:
            text = self.redaction.json(text)
        stored: str | Kept = text
        if payloads or digests or len(text) >= HEAVY:
            stored = self._kept(text, payloads or {}, digests or {})
            self._room.take(stored.size)
        self._queue.append((session, time.time_ns(), kind, path, actor, stored, spent(content)))
        if not self._awake:
            self._wake()

    def note(self, session: str, kind: str, path: str, actor: str, facts: Facts) -> None:
        """`record` for hot paths: the writer thread makes the body, so the facts must be values that never change."""
        self._queue.append((session, time.time_ns(), kind, path, actor, facts, 0))
        if not self._awake:
            self._wake()

    def redact_also(self, rules: Sequence[str]) -> None:
        """Take out, from now on, what these rules find too."""
        self.redaction = self.redaction.also(rules)

    def _kept(self, text: str, payloads: Mapping[str, Any], digests: Mapping[str, str]) -> Kept:
        values = {name: serialised(value, self.redaction) for name, value in payloads.items()}
        return Kept(text, values, dict(digests), len(text) + sum(value.size for value in values.values()))

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

    @property
    def behind(self) -> bool:
        """Whether so much waits for the disk that nothing should be added."""
        return len(self._queue) > QUEUE_LIMIT or self._room.bytes > BYTES

    def check(self) -> None:
        """Raise where the ledger is broken or so far behind that memory would be at risk."""
        if self.broken is not None:
            if self.broken.code == LOW:
                self._wake()  # the writer looks at the disk again: somebody may have made room
            raise LedgerError(self.broken.reason, code=self.broken.code, **self.broken.facts)  # a new traceback
        if self.behind:
            raise LedgerError(
                f"{len(self._queue)} events with {self._room.bytes} bytes wait for {self.name}: the disk is too slow",
                code="ledger-behind",
            )

    def wait_room(self) -> None:
        """Wait until the writer has caught up, `patience` seconds at most (blocking: never on an event loop)."""
        until = time.monotonic() + self.patience
        while self.broken is None and self.behind and time.monotonic() < until:
            time.sleep(POLL)
        self.check()

    def drop(self, events: int = 1) -> None:
        """Count events that observe mode leaves out rather than wait; `ledger.dropped` tells how many."""
        self._room.drop(events)
        self._wake()

    def head(self, session: str) -> Head | None:
        """Where the session's chain stands on disk (blocking; flush first to include what is queued)."""
        return self._store.head(session)

    def payload(self, session: str, digest: str) -> Any:
        """A stored value by the digest an event names it by (blocking); raises `LedgerError` where it is gone."""
        with self._store.reader() as reader:
            salts = [bytes(salt) for (salt,) in reader.rows("SELECT salt FROM salts WHERE session=?", session)]

            def find(wanted: str) -> Any:
                query = "SELECT kind, data FROM payloads WHERE session=? AND digest=?"
                for kind, data in reader.rows(query, session, wanted):
                    whole = checked(session, wanted, salts[0] if salts else None, bytes(data), kind)
                    return restored(kind, whole, find)
                raise LedgerError(f"the payload {wanted[:12]} of {session} is not stored: erased, pruned or archived")

            return find(digest)

    def store(self) -> Store:
        """Another connection to the same ledger, to read it or to keep house in it."""
        return store_of(self.place, self.key)

    def close(self) -> None:
        """Write what is queued and end the writer thread; the next `record` starts it again."""
        thread = self._thread
        if thread is None or thread.ident == threading.get_ident():
            return
        self._stop = True
        self._urgent.set()
        thread.join()

    def _reset(self) -> None:
        self._queue: deque[_Queued] = deque()
        self.waiting: Sized = self._queue
        """What has yet to be written; a plain attribute, as every call asks how much that is."""
        self._room = Room()
        self._lock = threading.Lock()
        self._awake = False
        self._urgent = threading.Event()
        self._hurry = False
        self._stop = False
        self._thread: threading.Thread | None = None
        self.ready = False
        """Whether this process has once written to the ledger; a plain attribute, as every call asks."""

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
        store, small = self.store(), False
        upkeep = Upkeep(Watermark(self.name, self._min_free, store.free), self._anchor, self._anchor_every)
        try:
            while True:
                if not self._stop and not self._hurry:
                    self._urgent.wait(WINDOW)
                self._urgent.clear()  # before the question, so that no ring is lost between the two
                if not self._stop and not self._hurry and len(self._queue) >= BUSY:
                    self._urgent.wait(BUSY_WINDOW)
                    self._urgent.clear()
                hurried, self._hurry = self._hurry or self._stop, False
                batch = self._drain(whole=hurried or small)
                if batch or self._room.dropped:
                    self._commit(store, batch, upkeep)
                elif self._stop:
                    return
                self._look(upkeep)
                small = len(batch) < GROUP
                if not batch:  # a thread that polls takes the interpreter's lock from the graphs each time
                    self._doze()
        finally:
            upkeep.finish(store)
            store.close()
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

    def _drain(self, *, whole: bool) -> list[_Queued]:
        """What is to be written now; the rest of a group waits for company while more keeps coming."""
        queue = self._queue
        ready = min(len(queue), BATCH)
        if not whole and ready > GROUP:
            ready -= ready % GROUP
        return [queue.popleft() for _ in range(ready)]

    def _commit(self, store: Store, batch: list[_Queued], upkeep: Upkeep) -> None:
        # Who was cancelled waits no more, and from here on nobody can be.
        waiting = [one for one in batch if isinstance(one, Future) and one.set_running_or_notify_cancel()]
        events = [one for one in batch if not isinstance(one, Future)]
        heavy = sum([one[5].size for one in events if type(one[5]) is Kept])
        if self._room.dropped and not self.behind:
            events.append(self._told())
        try:
            group = store.append(events, durable=bool(waiting))
            if self.broken is not None and self.broken.code != LOW:
                raise self.broken
            self.ready = True
        except Exception as error:
            store.close()
            self.broken = self._explain(error)
            for one in waiting:
                one.set_exception(self.broken)
            return
        finally:
            self._room.give(heavy)
        for one in waiting:
            one.set_result(None)
        upkeep.committed(store, group)

    def _told(self) -> Event:
        """The event that says how many others are missing."""
        dropped, since = self._room.take_dropped()
        body = canonical.text({"events": dropped, "since": since})
        return SYSTEM, time.time_ns(), "ledger.dropped", "", SYSTEM, body, 0

    def _look(self, upkeep: Upkeep) -> None:
        """Follow the room on the disk: say that it gets low, refuse to go on before it is out, go on after."""
        mark = upkeep.watermark
        state = mark.look() if self.ready or self.broken is not None else None
        if state is None:
            return
        facts = {"state": state, "free": mark.left, "min_free": mark.wanted}
        self.record(SYSTEM, "ledger.disk", actor=SYSTEM, body=facts)
        if state == "low":
            with suppress(RuntimeWarning):  # where warnings are errors, they are not for this thread
                mark.warn()
        if state == "out" and self.broken is None:
            self.broken = mark.error()
        elif self.broken is not None and self.broken.code == LOW:
            self.broken = None

    def _explain(self, error: Exception) -> LedgerError:
        if isinstance(error, LedgerError):
            return error
        what = re.sub(r"\s+", " ", str(error)).strip()
        return LedgerError(
            f"the ledger {self.name} cannot be written ({what}); free the disk or mend its rights, then restart",
            path=self.name,
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

__all__ = ["QUEUE_LIMIT", "Ledger", "encoded", "spent"]
