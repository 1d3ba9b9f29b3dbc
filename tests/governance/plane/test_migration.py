"""A ledger of version 1: read as it is, brought up to date when it is written, and as tamper-proof as before."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from governance.errors import LedgerError
from governance.plane.ledger import Ledger
from governance.plane.verify import verify

SCHEMA = """
CREATE TABLE IF NOT EXISTS events(
    session TEXT NOT NULL, n INTEGER NOT NULL, ts INTEGER NOT NULL, kind TEXT NOT NULL,
    path TEXT NOT NULL, actor TEXT NOT NULL, body TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY(session, n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads(
    session TEXT PRIMARY KEY, n INTEGER NOT NULL, hash TEXT NOT NULL, tokens INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version=1;
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Sessions a and b of five rows each, as version 1 wrote them."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(SCHEMA)
        for session in ("a", "b"):
            prev = ""
            for n in range(1, 6):
                row = [prev, session, n, n, "x", "", "", '{"tokens":2}']
                text = json.dumps(row, separators=(",", ":"))
                hashed = hashlib.sha256(text.encode()).hexdigest()
                db.execute("INSERT INTO events VALUES(?,?,?,?,?,?,?,?,?)", (*row[1:], prev, hashed))
                prev = hashed
            db.execute("INSERT INTO heads VALUES(?,?,?,?)", (session, 5, prev, 10))
    return path


def test_it_verifies_before_and_is_not_changed_by_that(old: Path) -> None:
    before = old.read_bytes()

    assert (True, 10) == ((found := verify(old)).ok, found.events)
    assert before == old.read_bytes()


def test_it_goes_on_as_the_new_version(old: Path) -> None:
    ledger = Ledger(old)
    ledger.record("a", "x", tokens=1)
    ledger.close()
    found = verify(old)

    assert (True, 11) == (found.ok, found.events)
    assert (head := ledger.head("a")) is not None and (6, 11) == (head.n, head.tokens)
    with ledger.store().reader() as reader:
        assert [(0, 10), (1, 1)] == list(reader.rows("SELECT g, events FROM groups ORDER BY g"))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET body='{}' WHERE session='a' AND n=2",
        "DELETE FROM events WHERE session='a' AND n=2",
        "UPDATE events SET actor='y' WHERE session='b' AND n=5",
    ],
)
def test_tampering_with_old_rows_is_found_before_and_after(old: Path, statement: str, after: bool) -> None:
    if after:
        ledger = Ledger(old)
        ledger.record("c", "x")
        ledger.close()
    with closing(sqlite3.connect(old)) as db, db:
        db.execute(statement)

    assert not verify(old).ok


def test_an_old_session_cannot_go_without_a_trace_any_more(old: Path) -> None:
    ledger = Ledger(old)
    ledger.record("c", "x")
    ledger.close()
    with closing(sqlite3.connect(old)) as db, db:
        db.execute("DELETE FROM events WHERE session='a'")
        db.execute("DELETE FROM heads WHERE session='a'")

    assert ["group 0 was committed with 10 rows, 5 of them are gone"] == [str(p) for p in verify(old).problems]


def test_a_key_does_not_seal_what_was_written_without_one(old: Path) -> None:
    ledger = Ledger(old, key=b"a key of at least 16 bytes")
    ledger.record("a", "x")
    with pytest.raises(LedgerError, match="was begun without a key"):
        ledger.flush()
    ledger.close()


def test_a_ledger_of_a_later_version_is_left_alone(old: Path) -> None:
    with closing(sqlite3.connect(old)) as db:
        db.execute("PRAGMA user_version=9")
    ledger = Ledger(old)
    ledger.record("a", "x")
    with pytest.raises(LedgerError, match=r"schema version 9, this Sidecar knows 2; update Sidecar"):
        ledger.flush()
    ledger.close()
