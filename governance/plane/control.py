"""The file operators write to: stops, approvals and effects, shared by all processes on it.

Reading it at every call would block event loops, so what the hot path asks (`stops`, pending cards) is a
snapshot. Whoever changes these rings a bell, and `is_fresh` hears it in a fraction of a microsecond; a call
that finds the snapshot old has it read anew first, off the event loop. A background thread looks at the file
itself, seldom: a thread that polls takes the interpreter's lock from the graphs each time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from governance.errors import LedgerError
from governance.operators import refuse_inside
from governance.plane import stops
from governance.plane.bell import Bell
from governance.plane.stops import Scope, Stop, Stops
from governance.plane.wal import write_ahead

SCHEMA = """
CREATE TABLE IF NOT EXISTS cards(
    id TEXT PRIMARY KEY, session TEXT NOT NULL, path TEXT NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL,
    evidence TEXT NOT NULL, payload_type TEXT NOT NULL, payload BLOB NOT NULL, digest TEXT NOT NULL,
    contract TEXT NOT NULL, proposer TEXT NOT NULL, approvers TEXT NOT NULL, asked REAL NOT NULL,
    expires REAL NOT NULL, state TEXT NOT NULL, principal TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '', edited TEXT, decided REAL, place TEXT NOT NULL,
    policy TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cards_by_place ON cards(session, place);
CREATE INDEX IF NOT EXISTS cards_by_state ON cards(state, decided);
CREATE TABLE IF NOT EXISTS effects(
    key TEXT PRIMARY KEY, session TEXT NOT NULL, tool TEXT NOT NULL, digest TEXT NOT NULL, args TEXT NOT NULL,
    state TEXT NOT NULL, execution TEXT NOT NULL, business TEXT, result_type TEXT, result BLOB,
    started REAL NOT NULL, lease REAL NOT NULL, finished REAL,
    parked TEXT, parked_digest TEXT, parked_args TEXT) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS effects_by_business ON effects(business) WHERE business IS NOT NULL;
CREATE INDEX IF NOT EXISTS effects_by_session ON effects(session);
CREATE INDEX IF NOT EXISTS effects_parked ON effects(parked) WHERE parked IS NOT NULL;
CREATE TABLE IF NOT EXISTS answers(
    place TEXT NOT NULL, asked TEXT NOT NULL, session TEXT NOT NULL, kind TEXT NOT NULL, said BLOB NOT NULL,
    led INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY(place, asked)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_to_lead ON answers(session) WHERE led = 0;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers(at);
CREATE TABLE IF NOT EXISTS sagas(
    session TEXT PRIMARY KEY, state TEXT NOT NULL, graph TEXT NOT NULL, cause TEXT NOT NULL, reason TEXT NOT NULL,
    by TEXT NOT NULL, began REAL NOT NULL, ended REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps(
    key TEXT PRIMARY KEY, session TEXT NOT NULL, n INTEGER NOT NULL, graph TEXT NOT NULL, path TEXT NOT NULL,
    state TEXT NOT NULL, why TEXT NOT NULL DEFAULT '', shared TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS steps_by_session ON steps(session, n);
CREATE TABLE IF NOT EXISTS circuits(
    key TEXT PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL, until REAL NOT NULL,
    out INTEGER NOT NULL, good INTEGER NOT NULL, turn TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows(
    key TEXT NOT NULL, holder TEXT NOT NULL, told TEXT NOT NULL, until REAL NOT NULL,
    PRIMARY KEY(key, holder)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shares(
    pool TEXT NOT NULL, holder TEXT NOT NULL, held INTEGER NOT NULL, wanted INTEGER NOT NULL, until REAL NOT NULL,
    PRIMARY KEY(pool, holder)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spending(
    account TEXT NOT NULL, period TEXT NOT NULL, tokens INTEGER NOT NULL, money INTEGER NOT NULL,
    PRIMARY KEY(account, period)) WITHOUT ROWID;
PRAGMA user_version=3;
"""
VERSION = 3
MATTERING = (
    "SELECT session, id, state FROM cards WHERE state IN ('pending','approved','edited') "
    "OR (state IN ('denied','expired') AND decided > ?)"
)
REMEMBERED = 7 * 24 * 3600.0
"""Seconds a denial is remembered at its place without a question to the disk."""
REFRESH = 1.0
"""Seconds between two looks of the background thread; calls of a graph do not wait for it."""

GOOD = 0.005
"""Seconds a snapshot is good for, whatever others change: many who ask people must not have it read at each call."""

ON_ITS_WAY = 1.0
"""Seconds that calls wait at most for a stop that somebody has announced and is writing."""
LOOK = 0.001

Work = Callable[[sqlite3.Connection], None]


class Control:
    """The control file of one installation."""

    _lock: threading.RLock
    _db: sqlite3.Connection | None
    _watcher: threading.Thread | None
    _ended: threading.Event
    _woken: threading.Event
    _due: deque[tuple[Work, Callable[[], None]]]
    _bell: Bell | None
    _heard: bytes | None
    _good_until: float
    _version: int
    _file: tuple[int, int]
    _stops: Stops
    _mine: set[float]
    _cards: dict[str, dict[str, str]]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.chores: list[Work] = []
        """What the background thread also does each time it looks: short, and mostly nothing."""
        self.readers: list[Work] = []
        """What else is read whenever the snapshot is: short, and on no event loop."""
        self._reset()
        _LIVE.add(self)

    @property
    def lock(self) -> threading.RLock:
        """Held while this process uses the file: for what has to follow a transaction before the next one."""
        return self._lock

    @property
    def stops(self) -> Mapping[tuple[str, str], Stop]:
        """Snapshot of the standing stops, by (scope, name)."""
        return self._stops.standing

    def is_fresh(self) -> bool:
        """Whether the snapshot holds every change that was told of, but for those of the last 5 ms at most."""
        bell, heard = self._bell, self._heard
        return bell is not None and heard is not None and (bell.heard() == heard or time.monotonic() < self._good_until)

    def refresh(self) -> None:
        """Read the snapshot anew where it is old (blocking); raises `LedgerError` where the file cannot be read."""
        self.watch()
        while (left := self._on_its_way()) > 0:
            time.sleep(min(LOOK, left))
        with self._lock:
            if self._bell is None or self._bell.heard() != self._heard:
                try:
                    self._read()
                except sqlite3.Error as error:
                    raise self._unreadable(error) from error

    def watch(self) -> None:
        """Look now and then from here on, also while nothing runs."""
        if self._watcher is not None:
            return
        with self._lock:
            if self._watcher is None:
                self._woken.set()  # the first look is at once
                self._watcher = threading.Thread(target=self._follow, name="sidecar-control", daemon=True)
                self._watcher.start()

    def soon(self, work: Work, written: Callable[[], None] = lambda: None) -> None:
        """Have the background thread do `work` at once, in a transaction that is told of. Does not block.

        Where the file cannot be written it is tried again at each look, and once more at the end. `written`
        is called when it is, before anybody reads the file again.
        """
        self._due.append((work, written))
        self.look()

    def look(self) -> None:
        """Have the background thread look at once. Does not block."""
        self.watch()
        self._woken.set()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a question to the control file finds (blocking: never on an event loop)."""
        with self._lock:
            try:
                return self._same().execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._unreadable(error) from error

    @contextmanager
    def transaction(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """One durable transaction on the control file (blocking: never on an event loop).

        One that is not `synced` outlives the process; the next one that is makes it outlive a power cut.
        """
        with self._lock:
            db = self._same()
            try:
                db.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            except sqlite3.Error as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise LedgerError(
                    f"the control file {self.path} cannot be written ({error}); free the disk or mend its rights",
                    code="control",
                ) from error
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def stop(self, scope: Scope, name: str = "*", *, reason: str, by: str) -> Stop:
        """Forbid a session, an agent, a tool, a tenant or everything from now on, in this process at once."""
        refuse_inside("stop something")
        order = Stop(scope, name, reason, by, time.time())
        before = self.stops.get(order.key)
        self._stops.order(order)
        announced = self._announce() or self._announce(self._opened())
        try:
            with self._lock:
                with self.transaction() as db:
                    db.execute("INSERT OR REPLACE INTO stops VALUES(?,?,?,?,?)", order)
                self._stops.written(order.key)
        except BaseException:
            self._stops.take_back(order, before)
            raise
        finally:
            self._arrived(announced)
            self.ring()
        return order

    def halt(self, order: Stop) -> bool:
        """Put a stop in force in this process, and have it written for all others; False where there is one already.

        Does not block. It stands here also while the file cannot be written.
        """
        new = self._stops.order(order, again=False)
        if new:
            self.soon(partial(self._stops.write, order.key), partial(self._written, order.key, self._announce()))
        return new

    def lifted(self, scope: str, name: str) -> float:
        """When a stop was lifted last, as far as this process knows; 0 where none was."""
        return self._stops.lifts.get((scope, name), 0.0)

    def resume(self, scope: Scope, name: str = "*") -> bool:
        """Lift a stop; False when there was none."""
        refuse_inside("lift a stop")
        key, at = (scope, name), time.time()
        with self._lock:
            with self.transaction() as db:
                lifted = db.execute("DELETE FROM stops WHERE scope=? AND name=?", key).rowcount > 0
                db.execute("INSERT OR REPLACE INTO lifts VALUES(?,?,?)", (*key, at))
            lifted = self._stops.lift(key, at) or lifted
        self.ring()
        return lifted

    def pending(self, session: str) -> tuple[str, ...]:
        """Ids of the questions this session waits for, as far as this process knows."""
        return tuple(card for card, state in self._cards.get(session, {}).items() if state == "pending")

    def has_cards(self, session: str) -> bool:
        """Whether a question of this session may still matter; without one, nobody has to look."""
        return session in self._cards

    def knows_card(self, card: str) -> bool:
        return any(card in known for known in self._cards.values())

    def note_card(self, session: str, card: str, state: str) -> None:
        """Put a change of this process into the snapshot at once."""
        with self._lock:
            known = {**self._cards.get(session, {}), card: state}
            if state in ("committed", "superseded"):
                del known[card]
            cards = {**self._cards, session: known}
            if not known:
                del cards[session]
            self._cards = cards
        self.ring()

    def _unreadable(self, error: sqlite3.Error) -> LedgerError:
        return LedgerError(f"the control file {self.path} cannot be read ({error})", code="control")

    def ring(self) -> None:
        """Tell all processes that the snapshot is old; whoever changes what is in it does."""
        bell = self._bell
        if bell is not None:
            bell.ring()

    def close(self) -> None:
        watcher, self._watcher = self._watcher, None
        self._ended.set()
        self._woken.set()
        if watcher is not None and watcher.is_alive():
            watcher.join()
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = self._bell = None
        self._ended, self._woken = threading.Event(), threading.Event()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._db, self._watcher, self._bell = None, None, None
        self._ended, self._woken, self._due = threading.Event(), threading.Event(), deque()
        self._version, self._heard, self._good_until, self._file = -1, None, 0.0, (0, 0)
        self._mine = set()
        self._stops, self._cards = Stops(), {}

    def _same(self) -> sqlite3.Connection:
        """The connection, to the very file that stands at the path: another one would know nothing of what happened."""
        db = self._connect()
        try:
            found = os.stat(self.path)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._file:
            raise LedgerError(
                f"the control file {self.path} was deleted or replaced while it was in use; put it back, or stop all "
                "processes on it before you begin with another: what happened is in the one that is gone",
                code="control",
            )
        return db

    def _connect(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                db = sqlite3.connect(self.path, isolation_level=None, timeout=30, check_same_thread=False)
                write_ahead(db)
                db.execute("PRAGMA synchronous=FULL")
                if _is_new(db, self.path):  # else it would wait for whoever writes, and a stop with it
                    db.executescript(stops.SCHEMA + SCHEMA)
                self._bell = Bell(self.path.with_name(f"{self.path.name}-bell"))
                found = os.stat(self.path)
                self._file = (found.st_dev, found.st_ino)
                self._heard = None  # what was read by the last connection may be old
            except (sqlite3.Error, OSError) as error:
                raise LedgerError(
                    f"the control file {self.path} cannot be opened ({error}); give a path that can be written",
                    code="control",
                ) from error
            self._db = db
        return self._db

    def _follow(self) -> None:
        ended, woken = self._ended, self._woken
        while not ended.is_set():
            woken.wait(REFRESH)
            woken.clear()
            with suppress(LedgerError, sqlite3.Error):  # whoever calls next tries to read it, and is told
                self._turn(ended)
        with suppress(LedgerError):
            self._do_what_is_due()

    def _turn(self, ended: threading.Event) -> None:
        """One look of the background thread."""
        self._do_what_is_due()
        with self._lock:
            if ended.is_set():
                return
            # Asked of SQLite itself: whoever rings may have died before.
            if self._connect().execute("PRAGMA data_version").fetchone()[0] != self._version:
                self._read()
            for chore in self.chores:
                chore(self._connect())

    def _do_what_is_due(self) -> None:
        while self._due:
            work, written = self._due[0]
            with self._lock:
                with self.transaction() as db:
                    work(db)
                    self._version = -1  # SQLite does not count what its own connection writes
                written()
            self._due.popleft()
            self.ring()

    def _opened(self) -> Bell | None:
        with self._lock:
            self._connect()
        return self._bell

    def _announce(self, bell: Bell | None = None) -> float:
        """Have calls of other processes wait for a stop until it is written, instead of passing it by meanwhile.

        Does not block; 0 where this process has not opened the file.
        """
        bell = bell or self._bell
        if bell is None:
            return 0.0
        until = time.monotonic() + ON_ITS_WAY
        self._mine.add(until)
        bell.announce(until)
        return until

    def _arrived(self, announced: float) -> None:
        bell = self._bell
        if bell is not None:
            bell.arrived(announced)
        self._mine.discard(announced)

    def _written(self, key: tuple[str, str], announced: float) -> None:
        self._stops.written(key)
        self._arrived(announced)

    def _on_its_way(self) -> float:
        """Seconds that a stop of another process may still be on its way; its own this one knows."""
        bell = self._bell
        until = 0.0 if bell is None else bell.announced()
        return 0.0 if until in self._mine else min(ON_ITS_WAY, until - time.monotonic())

    def _read(self) -> None:
        db = self._connect()
        assert self._bell is not None
        # Before the reading: a change meanwhile must not pass for one that was read.
        heard, good_until = self._bell.heard(), time.monotonic() + GOOD
        if self._on_its_way() > 0:
            heard, good_until = b"", 0.0  # what is read now is old when it is written
        self._version = db.execute("PRAGMA data_version").fetchone()[0]
        cards: dict[str, dict[str, str]] = {}
        for session, card, state in db.execute(MATTERING, (time.time() - REMEMBERED,)):
            cards.setdefault(session, {})[card] = state
        self._stops.read(db)
        for reader in self.readers:
            reader(db)
        # Last: until all of it is there, nobody may take the old snapshot for a good one.
        self._cards, self._heard, self._good_until = cards, heard, good_until


def _is_new(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has no tables yet; raises where it has those of another version."""
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, VERSION):
        raise LedgerError(
            f"the control file {path} has version {found}, this Sidecar knows version {VERSION}; "
            "settle what waits in it with the Sidecar that made it, then move it away",
            code="control",
        )
    return bool(found == 0)


_LIVE: weakref.WeakSet[Control] = weakref.WeakSet()


def _after_fork() -> None:
    # A child may use neither the parent's connection nor its lock; the file is opened anew.
    for control in list(_LIVE):
        control._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
