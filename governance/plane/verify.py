"""Recomputes a ledger from its rows: what was edited, cut, dropped, swapped or put in by somebody else.

Every row is hashed again by the rule of `governance.plane.ledger` and compared with its neighbours and
with the table of heads, in one read transaction, so that writers may go on meanwhile. Rows are streamed:
memory grows with the number of sessions, not with the number of events.

Whoever may write the file may also compute a whole new chain, or drop a session with its head. Only heads
kept elsewhere find that: keep what one `verify` returned and give it to the next.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

from governance.errors import LedgerError
from governance.plane.ledger import spent
from governance.plane.ledger_file import SCHEMA, event_hash

ROWS = "SELECT session, n, ts, kind, path, actor, body, prev, hash FROM events ORDER BY session, n"
ORPHANS = "SELECT session, n FROM heads h WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.session = h.session)"
OBJECTS = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
PROBLEMS_KEPT = 1000
STRIDE = 4096
"""Rows between two calls of `progress`."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written; `n` is 0 where it concerns a whole session or file."""

    session: str
    n: int
    what: str

    def __str__(self) -> str:
        place = f"{self.session}:{self.n}" if self.n else self.session
        return f"{place}: {self.what}" if place else self.what


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found; `heads` are the ends of the chains, worth keeping outside for the next time."""

    ok: bool
    events: int
    sessions: int
    problems: tuple[Problem, ...]
    heads: Mapping[str, tuple[int, str]]


def verify(
    path: str | os.PathLike[str],
    *,
    heads: Mapping[str, tuple[int, str]] | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check a whole ledger file; raises `LedgerError` where it cannot be read as a ledger at all.

    `heads` are (n, hash) by session as they were known earlier: a chain that does not contain them was
    cut or written anew. `progress` is called with the rows done and the rows expected.
    """
    known = dict(heads or {})
    with closing(_open(Path(path))) as db:
        try:
            return _verify(db, Path(path), known, progress)
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise _unreadable(Path(path), error) from error
        except sqlite3.DatabaseError as error:
            raise _unreadable(Path(path), error) from error
        # Somebody stored bytes that are no text: read again with an eye that passes over them.
        db.rollback()
        db.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        return _verify(db, Path(path), known, progress)


@dataclass(slots=True)
class _Audit:
    """What has been seen so far."""

    anchors: dict[str, tuple[int, str]]
    progress: Progress | None
    expected: int = 0
    events: int = 0
    found: int = 0
    problems: list[Problem] = field(default_factory=list)
    heads: dict[str, tuple[int, str]] = field(default_factory=dict)

    def report(self, session: str, n: int, what: str) -> None:
        self.found += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(session, n, what))

    def count(self) -> None:
        self.events += 1
        if self.progress is not None and self.events % STRIDE == 0:
            self.progress(self.events, max(self.events, self.expected))

    def result(self) -> Verification:
        if self.progress is not None:
            self.progress(self.events, self.events)
        more = self.found - len(self.problems)
        rest = (Problem("", 0, f"and {more} problems more"),) if more else ()
        return Verification(not self.found, self.events, len(self.heads), (*self.problems, *rest), self.heads)


def _verify(
    db: sqlite3.Connection, path: Path, anchors: dict[str, tuple[int, str]], progress: Progress | None
) -> Verification:
    audit = _Audit(anchors, progress)
    db.execute("BEGIN")
    _check_schema(db, path, audit)
    for (what,) in db.execute("PRAGMA quick_check(10)"):
        if what != "ok":
            audit.report("", 0, f"the file is damaged: {what}")
    audit.expected = int(db.execute("SELECT coalesce(sum(n), 0) FROM heads").fetchone()[0])
    for session, rows in itertools.groupby(db.execute(ROWS), key=itemgetter(0)):
        _check_chain(db, session, rows, audit)
    for session, n in db.execute(ORPHANS):
        audit.report(session, 0, f"the heads say {n} rows, there is none: the session was removed")
    for session, (n, digest) in audit.anchors.items():
        _check_anchor(session, n, digest, audit)
    return audit.result()


def _check_schema(db: sqlite3.Connection, path: Path, audit: _Audit) -> None:
    """Tables other than ours, or ours without their keys, allow what the rows alone would not show."""
    with closing(sqlite3.connect(":memory:")) as model:
        model.executescript(SCHEMA)
        ours, version = _objects(model), model.execute("PRAGMA user_version").fetchone()[0]
    theirs, stated = _objects(db), db.execute("PRAGMA user_version").fetchone()[0]
    if missing := sorted(name for name in ours if name not in theirs):
        raise LedgerError(f"{path} is no ledger: it has no table {', '.join(name for _, name in missing)}")
    if stated != version:
        audit.report("", 0, f"the schema is version {stated}, this Sidecar writes version {version}")
    for key, sql in sorted(theirs.items()):
        if key not in ours:
            audit.report("", 0, f"there is a {key[0]} {key[1]!r} that no ledger has")
        elif sql != ours[key]:
            audit.report("", 0, f"the {key[0]} {key[1]!r} is not declared as Sidecar declares it")


def _objects(db: sqlite3.Connection) -> dict[tuple[str, str], str]:
    return {(kind, name): " ".join((sql or "").split()) for kind, name, sql in db.execute(OBJECTS)}


def _check_chain(db: sqlite3.Connection, session: str, rows: Iterable[tuple[Any, ...]], audit: _Audit) -> None:
    """One session: its rows against themselves, against each other, and against its head."""
    number, last, tokens, sound = 0, "", 0, True
    anchor = audit.anchors.get(session)
    for _, n, ts, kind, path, actor, body, prev, digest in rows:
        audit.count()
        if n != number + 1:
            audit.report(session, n, _gap(number, n))
        elif prev != last:
            audit.report(session, n, "does not follow the row before it: another chain goes on here")
        if event_hash(prev, session, n, ts, kind, path, actor, body) != digest:
            audit.report(session, n, "was changed after it was written: its hash does not fit its content")
            sound = False
        elif '"tokens":' in body:
            tokens += spent(orjson.loads(body))
        if anchor is not None and n == anchor[0]:
            del audit.anchors[session]
            if digest != anchor[1]:
                audit.report(session, n, f"has hash {digest[:12]}, known as {anchor[1][:12]}: the chain was rewritten")
        number, last = n, digest
    audit.heads[session] = (number, last)
    _check_head(db, session, {"n": number, "hash": last} | ({"tokens": tokens} if sound else {}), audit)


def _gap(number: Any, n: Any) -> str:
    if isinstance(n, int) and n == number + 2:
        return f"row {number + 1} is missing before it"
    if isinstance(n, int) and n > number:
        return f"rows {number + 1} to {n - 1} are missing before it"
    return f"stands after row {number}: a second chain"


def _check_head(db: sqlite3.Connection, session: str, wanted: Mapping[str, Any], audit: _Audit) -> None:
    found = db.execute(f"SELECT {', '.join(wanted)} FROM heads WHERE session=?", (session,)).fetchall()
    if len(found) != 1:
        audit.report(session, 0, "has rows but no head" if not found else f"has {len(found)} heads")
        return
    for stated, (name, should) in zip(found[0], wanted.items(), strict=True):
        if stated != should:
            audit.report(session, 0, f"the head says {name} {stated!r:.20}, the rows say {should!r:.20}")


def _check_anchor(session: str, n: int, digest: str, audit: _Audit) -> None:
    end = audit.heads.get(session)
    if end is None:
        audit.report(session, 0, f"was known with {n} rows and is gone")
    else:
        audit.report(session, 0, f"ends at row {end[0]}, known up to row {n} ({digest[:12]}): its tail was cut")


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise LedgerError(
            f"expected a ledger file at {path}, found {'a folder' if path.is_dir() else 'nothing'}; name another"
        )
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: sqlite3.Error) -> LedgerError:
    return LedgerError(f"{path} cannot be read as a ledger ({error}); restore it from a copy and verify that")
