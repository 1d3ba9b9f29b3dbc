"""Lets go of what need not, or must not, be kept: the chain stays whole, and each time it is on record.

Erasing takes payloads and the salt that could tie a digest to what it stood for. Archiving moves the rows of
whole sessions into a ledger file of their own; a tombstone stands in for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from governance import canonical
from governance.errors import LedgerError
from governance.plane.archives import MARK, Contents, contents_of, part_of
from governance.plane.ledger import Ledger
from governance.plane.ledger_file import LedgerFile
from governance.plane.ledger_rows import COLUMNS, OPERATOR, SYSTEM, Digest, Event, digest_with
from governance.plane.ledger_store import Change, Store
from governance.plane.payloads import digest_of
from governance.plane.tombstones import shares_of, tombstone_digest

Progress = Callable[[int, int], None]
KEPT = (OPERATOR, SYSTEM)
"""Sessions that say what became of others; they are not archived."""
EVENT_COLUMNS = ", ".join(COLUMNS)
PAYLOAD_COLUMNS = "session, digest, kind, data, stored"


@dataclass(frozen=True, slots=True)
class Done:
    """What was let go of."""

    sessions: tuple[str, ...] = ()
    payloads: int = 0
    bytes: int = 0
    rows: int = 0


def erase(ledger: Ledger, sessions: list[str], *, by: str, reason: str = "", archive: Path | None = None) -> Done:
    """Take the payloads of sessions, and what ties their digests to content, out of the ledger for good.

    An archive they went to is cleared first: what is on record has then happened in both.
    """
    done: list[tuple[int, int]] = []

    def work(change: Change) -> None:
        for session in sessions:
            payloads, size = _size(change, "session=?", session)
            _clear(change, [session])
            done.append((payloads, size))
            body = {"payloads": payloads, "bytes": size, "reason": reason}
            change.append([_event(session, "ledger.erased", by, body)])

    if archive is not None:
        with closing(LedgerFile(archive, ledger.key)) as file:
            file.change(lambda change: _clear(change, sessions))
    with closing(ledger.store()) as store:
        store.change(work)
    return Done(tuple(sessions), sum(n for n, _ in done), sum(size for _, size in done))


def _clear(change: Change, sessions: list[str]) -> None:
    for session in sessions:
        change.execute("DELETE FROM payloads WHERE session=?", session)
        change.execute("DELETE FROM salts WHERE session=?", session)


def prune(ledger: Ledger, before: int, *, by: str) -> Done:
    """Take out all payloads stored before a moment (nanoseconds since 1970)."""
    found: list[tuple[int, int]] = []

    def work(change: Change) -> None:
        payloads, size = _size(change, "stored<?", before)
        change.execute("DELETE FROM payloads WHERE stored<?", before)
        found.append((payloads, size))
        body = {"before": before, "payloads": payloads, "bytes": size}
        change.append([_event(OPERATOR, "ledger.pruned", by, body)])

    with closing(ledger.store()) as store:
        store.change(work)
    return Done((), *found[0])


def sessions_of(ledger: Ledger, person: str) -> list[str]:
    """The sessions whose runs carried a person; only who knows the name finds them."""
    query = (
        "SELECT e.session, s.salt, e.body FROM events e JOIN salts s ON s.session = e.session "
        "WHERE e.kind = 'session.person' ORDER BY e.session, e.n"
    )
    with ledger.store().reader() as reader:
        found = {
            session: None
            for session, salt, body in reader.rows(query)
            if orjson.loads(body).get("person") == digest_of(bytes(salt), person.encode())
        }
    return list(found)


def known_sessions(ledger: Ledger, sessions: list[str]) -> list[str]:
    """Those of the sessions that the ledger has."""
    with ledger.store().reader() as reader:
        return [s for s in sessions if next(reader.rows("SELECT 1 FROM heads WHERE session=?", s), None)]


def archive(ledger: Ledger, before: int, file: Path, *, by: str, progress: Progress = lambda done, of: None) -> Done:
    """Move sessions whose last event is older than a moment into a ledger file of their own.

    The copy is on the disk before anything is taken out; a crash between leaves both, and the next try goes on.
    """
    rows = 0
    with closing(ledger.store()) as store, closing(LedgerFile(file, ledger.key)) as into:
        old, digest = _old_sessions(store, before), digest_with(ledger.key)
        _as_archive(into, digest)
        for number, session in enumerate(old, 1):
            rows += _move(store, into, session, digest, by)
            progress(number, len(old))
    return Done(tuple(old), rows=rows)


def _old_sessions(store: Store, before: int) -> list[str]:
    query = "SELECT h.session, e.ts FROM heads h JOIN events e ON e.session = h.session AND e.n = h.n ORDER BY e.ts"
    with store.reader() as reader:
        return [session for session, ts in reader.rows(query) if ts < before and session not in KEPT]


def _as_archive(into: LedgerFile, digest: Digest) -> None:
    def work(change: Change) -> None:
        if next(change.rows("SELECT 1 FROM groups"), None):
            raise LedgerError(f"{into.path} is a ledger that is written to, not an archive; name another file")
        if next(change.rows("SELECT 1 FROM meta WHERE name=?", MARK), None) is None:
            change.execute("INSERT INTO meta VALUES(?,?)", MARK, Contents().sealed(digest))

    into.change(work)


def _move(store: Store, into: LedgerFile, session: str, seal: Digest, by: str) -> int:
    moved: list[int] = []

    def work(change: Change) -> None:
        query = f"SELECT {EVENT_COLUMNS} FROM events WHERE session=? ORDER BY n"
        rows = list(change.rows(query, session))
        head = next(change.rows("SELECT n, hash, tokens FROM heads WHERE session=?", session))
        extra = {
            "payloads": list(change.rows(f"SELECT {PAYLOAD_COLUMNS} FROM payloads WHERE session=?", session)),
            "salts": list(change.rows("SELECT session, salt FROM salts WHERE session=?", session)),
        }
        into.change(lambda copy: _copied(copy, session, rows, head, extra, seal))
        shares = shares_of((row[COLUMNS.index("g")], row[COLUMNS.index("hash")]) for row in rows)
        change.execute("INSERT INTO archived VALUES(?,?,?,?,?)", session, *head, shares)
        for table in ("events", "payloads"):  # the salt stays: the session may go on
            change.execute(f"DELETE FROM {table} WHERE session=?", session)
        digest = tombstone_digest(session, *head, shares)
        body = {"session": session, "n": head[0], "hash": head[1], "digest": digest, "file": into.path.name}
        change.append([_event(OPERATOR, "ledger.archived", by, body)])
        moved.append(len(rows))

    store.change(work)
    return moved[0]


def _copied(copy: Change, session: str, rows: list[Any], head: Any, extra: dict[str, list[Any]], seal: Digest) -> None:
    before = part_of(copy, session)
    tables = {"events": rows, "heads": [(session, *head)], **extra}
    for table, values in tables.items():
        if table == "heads":
            copy.execute("DELETE FROM heads WHERE session=?", session)
        for row in values:
            marks = ",".join("?" * len(row))
            copy.execute(f"INSERT OR REPLACE INTO {table} VALUES({marks})", *row)
    stated = contents_of(next(copy.rows("SELECT value FROM meta WHERE name=?", MARK))[0])
    after = part_of(copy, session)
    if stated is None or after is None:
        raise LedgerError("the archive has lost the seal on its contents; verify it, and name another file")
    copy.execute("UPDATE meta SET value=? WHERE name=?", stated.having(after, seal, instead=before).sealed(seal), MARK)


def _size(change: Change, where: str, value: Any) -> tuple[int, int]:
    query = f"SELECT count(*), coalesce(sum(length(data)), 0) FROM payloads WHERE {where}"
    payloads, size = next(change.rows(query, value))
    return int(payloads), int(size)


def _event(session: str, kind: str, by: str, body: dict[str, Any]) -> Event:
    return session, time.time_ns(), kind, "", by, canonical.text(body), 0


def older_than(seconds: float) -> int:
    """The moment so many seconds ago, as the ledger counts."""
    return time.time_ns() - int(seconds * 1e9)


__all__ = ["Done", "archive", "erase", "known_sessions", "older_than", "prune", "sessions_of"]
