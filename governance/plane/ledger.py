"""The append-only record: every event in a hash chain per session, written by one thread per process.

`record` never blocks: it puts the event on a queue that a writer thread commits in groups. `flushed`
gives an acknowledgement that can be waited for where something must be durable first. When the disk
refuses, `broken` is set, and enforce mode runs nothing any more.

The hash of an event covers every stored field: SHA-256 over the canonical JSON array
`[prev, session, n, ts, kind, path, actor, body]`, where `prev` is the hash of the session's event before
(empty for the first) and `body` the stored text. What a session has spent is the sum of `tokens` in its
bodies, so that the head's count can be recomputed too.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from governance import canonical
from governance.errors import LedgerError

SCHEMA = """
CREATE TABLE IF NOT EXISTS events(
    session TEXT NOT NULL, n INTEGER NOT NULL, ts INTEGER NOT NULL, kind TEXT NOT NULL,
    path TEXT NOT NULL, actor TEXT NOT NULL, body TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY(session, n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads(
    session TEXT PRIMARY KEY, n INTEGER NOT NULL, hash TEXT NOT NULL, tokens INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version=1;
"""
COLUMNS = 9
ROWS = 64
"""Rows one statement inserts at most: SQLite gives up the interpreter's lock at each, and taking it back
from a busy event loop costs more than the row."""
UPSERT = (
    "INSERT INTO heads(session,n,hash,tokens) VALUES(?,?,?,?) "
    "ON CONFLICT(session) DO UPDATE SET n=excluded.n, hash=excluded.hash, tokens=excluded.tokens"
)
WINDOW = 0.02
"""Seconds a group of events waits for company when nobody waits for it."""
HEADS_KEPT = 4096
QUEUE_LIMIT = 100_000


Event = tuple[str, int, str, str, str, str, int]
"""session, nanoseconds since 1970, kind, path, actor, body as text, tokens; a plain tuple, as there are many."""


class Head(NamedTuple):
    """Where a session's chain ends, with the tokens it has spent."""

    n: int
    hash: str
    tokens: int


def spent(body: Mapping[str, Any]) -> int:
    """The tokens an event counts against its session: the whole number under `tokens` in its body."""
    tokens = body.get("tokens")
    return tokens if type(tokens) is int and 0 <= tokens < 2**53 else 0


def event_hash(prev: str, session: str, n: int, ts: int, kind: str, path: str, actor: str, body: str) -> str:
    """The hash of one stored event, as the module describes it."""
    return hashlib.sha256(canonical.encode([prev, session, n, ts, kind, path, actor, body])).hexdigest()


@cache
def insert(rows: int) -> str:
    """The statement that appends this many events."""
    return "INSERT INTO events(session,n,ts,kind,path,actor,body,prev,hash) VALUES" + ",".join(
        ["(?,?,?,?,?,?,?,?,?)"] * rows
    )


def parts(rows: int) -> Iterator[int]:
    """Sizes of the statements that insert so many rows: few sizes, since a new one costs 100 rows to prepare."""
    size = ROWS
    while rows:
        while size > rows:
            size //= 2
        yield size
        rows -= size


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
        self._queue.append((session, time.time_ns(), kind, path, actor, _encoded(content), spent(content)))
        if not self._awake:
            self._wake()

    def flushed(self) -> Future[None]:
        """Done when everything recorded so far is on disk; fails with `LedgerError` when it cannot be."""
        done: Future[None] = Future()
        self._queue.append(done)
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
        if not self.path.exists():
            return None
        db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            row = db.execute("SELECT n, hash, tokens FROM heads WHERE session=?", (session,)).fetchone()
        except sqlite3.OperationalError:
            return None
        finally:
            db.close()
        return Head(*row) if row else None

    def close(self) -> None:
        """Write what is queued and end the writer thread; the next `record` starts it again."""
        thread = self._thread
        if thread is None or thread.ident == threading.get_ident():
            return
        self._stop = True
        self._awake_event.set()
        self._urgent.set()
        thread.join()

    def _reset(self) -> None:
        self._queue: deque[Event | Future[None]] = deque()
        self._lock = threading.Lock()
        self._awake = False
        self._awake_event = threading.Event()
        self._urgent = threading.Event()
        self._stop = False
        self._thread: threading.Thread | None = None
        self.ready = False
        """Whether this process has once written to the file; a plain attribute, as every call asks."""
        self._file: tuple[int, int] | None = None
        self._heads: dict[str, Head] = {}
        self._data_version = -1

    def _wake(self) -> None:
        self._awake = True
        self._awake_event.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._write, name="sidecar-ledger", daemon=True)
                    self._thread.start()

    def _write(self) -> None:
        """The writer thread: collect for a moment, commit, answer those who wait."""
        db: sqlite3.Connection | None = None
        try:
            while True:
                self._awake_event.wait()
                if not self._stop:
                    self._urgent.wait(WINDOW)
                self._urgent.clear()
                self._awake_event.clear()
                self._awake = False
                batch = self._drain()
                if batch:
                    db = self._commit(db, batch)
                if self._stop and not self._queue:
                    return
        finally:
            if db is not None:
                db.close()
            self._stop, self._thread = False, None
            if self._queue:
                self._wake()

    def _drain(self) -> list[Event | Future[None]]:
        batch: list[Event | Future[None]] = []
        queue = self._queue
        while queue and len(batch) < 5000:
            batch.append(queue.popleft())
        if queue:
            self._awake_event.set()
            self._urgent.set()
        return batch

    def _commit(self, db: sqlite3.Connection | None, batch: list[Event | Future[None]]) -> sqlite3.Connection | None:
        waiting = [one for one in batch if isinstance(one, Future)]
        events = [one for one in batch if not isinstance(one, Future)]
        try:
            db = db or self._open()
            if events:
                self._append(db, events, durable=bool(waiting))
            elif waiting:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            if waiting and self._file != _identity(self.path):
                raise LedgerError(f"the ledger {self.path} was deleted or replaced while it was written; restore it")
            if self.broken is not None:
                raise self.broken
            self.ready = True
        except Exception as error:
            self._heads.clear()
            self.broken = self._explain(error)
            for one in waiting:
                one.set_exception(self.broken)
            if db is not None:
                db.close()
            return None
        for one in waiting:
            one.set_result(None)
        return db

    def _explain(self, error: Exception) -> LedgerError:
        if isinstance(error, LedgerError):
            return error
        return LedgerError(
            f"the ledger {self.path} cannot be written ({error}); free the disk or mend its rights, then restart",
            path=str(self.path),
        )

    def _open(self) -> sqlite3.Connection:
        self._heads.clear()  # what data_version counts is this connection's own: nothing known before holds
        self._data_version = -1
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(SCHEMA)
        self._file = _identity(self.path)
        return db

    def _append(self, db: sqlite3.Connection, events: list[Event], *, durable: bool) -> None:
        """One transaction; with `durable` it is on the disk, not only with the operating system."""
        db.execute("PRAGMA synchronous=FULL" if durable else "PRAGMA synchronous=NORMAL")
        db.execute("BEGIN IMMEDIATE")
        try:
            version = db.execute("PRAGMA data_version").fetchone()[0]
            if version != self._data_version:  # another process wrote: our heads may be old
                self._heads.clear()
                self._data_version = version
            touched: dict[str, Head] = {}
            values = self._chained(db, events, touched)
            start = 0
            for rows in parts(len(events)):
                end = start + rows * COLUMNS
                db.execute(insert(rows), values[start:end])
                start = end
            db.executemany(UPSERT, [(session, *head) for session, head in touched.items()])
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._remember(touched)

    def _chained(self, db: sqlite3.Connection, events: list[Event], touched: dict[str, Head]) -> list[Any]:
        """The columns of all rows, one after the other; `touched` becomes the new ends of the chains."""
        values: list[Any] = []
        current, n, prev, used = None, 0, "", 0
        for session, ts, kind, path, actor, text, tokens in events:
            if not (session.isascii() and path.isascii() and actor.isascii()):
                session, path, actor = _stored(session), _stored(path), _stored(actor)
            if session != current:  # events of one session mostly follow each other
                if current is not None:
                    touched[current] = Head(n, prev, used)
                current, (n, prev, used) = session, touched.get(session) or self._head(db, session)
            n += 1
            digest = event_hash(prev, session, n, ts, kind, path, actor, text)
            values += (session, n, ts, kind, path, actor, text, prev, digest)
            prev, used = digest, used + tokens
        if current is not None:
            touched[current] = Head(n, prev, used)
        return values

    def _head(self, db: sqlite3.Connection, session: str) -> Head:
        known = self._heads.get(session)
        if known is None:
            found = db.execute("SELECT n, hash, tokens FROM heads WHERE session=?", (session,)).fetchone()
            known = Head(*found) if found else Head(0, "", 0)
        return known

    def _remember(self, touched: dict[str, Head]) -> None:
        if len(self._heads) + len(touched) > HEADS_KEPT:
            self._heads.clear()
        self._heads.update(touched)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path names now."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stored(name: str) -> str:
    """Text that SQLite can hold: a lone surrogate (a model can write one) must not stop the record."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _encoded(body: dict[str, Any]) -> str:
    """The stored text of a body; a value whose own code fails is named, and the record goes on."""
    try:
        return canonical.text(body)
    except Exception as error:
        return canonical.text({"unrecordable": type(error).__name__, "tokens": spent(body)})


_LIVE: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork() -> None:
    # The child has neither the writer thread nor a right to the parent's connection or queue.
    for ledger in list(_LIVE):
        ledger._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
