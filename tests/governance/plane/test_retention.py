"""Erasing, pruning and archiving: the content is gone from every file, and the record stays whole."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from governance.errors import LedgerError
from governance.plane import retention
from governance.plane.ledger import Ledger
from governance.plane.verify import verify

SECRET = "the patient is called Alice Adams"


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger of sessions a, b and c, each with payloads; the first two are of person 7."""
    place: Any = tmp_path / "ledger.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    made = Ledger(place)
    for session in ("a", "b", "c"):
        made.record(session, "session.person", digests={"person": "7" if session < "c" else "8"})
        made.record(session, "run.input", payloads={"input": {"text": f"{SECRET} in {session}"}})
        made.record(session, "model.ended", tokens=5, payloads={"prompt": [SECRET, ("typed", session)]})
    made.flush()
    yield made
    made.close()


def raw(ledger: Ledger, folder: Path) -> bytes:
    """Every byte of the files of a ledger; on a server what its tables hold."""
    if ledger.path.parent == folder:
        return b"".join(file.read_bytes() for file in folder.glob("*.db*"))
    with psycopg.connect(str(ledger.place)) as db:
        return repr(db.execute("SELECT data FROM payloads").fetchall()).encode()


def goes_on(ledger: Ledger, session: str) -> None:
    ledger.record(session, "model.ended", tokens=5, payloads={"prompt": "and on"})
    ledger.flush()


def test_an_erased_session_leaves_no_byte_and_a_whole_chain(ledger: Ledger, tmp_path: Path) -> None:
    done = retention.erase(ledger, ["a", "b", "c"], by="local:ann", reason="asked for")

    assert (("a", "b", "c"), 12) == (done.sessions, done.payloads)
    assert SECRET.encode() not in raw(ledger, tmp_path)
    assert () == verify(ledger.place).problems


def test_a_digest_tells_nothing_once_the_salt_is_gone(ledger: Ledger) -> None:
    retention.erase(ledger, ["a"], by="local:ann")

    with ledger.store().reader() as reader:
        assert [("b",), ("c",)] == list(reader.rows("SELECT session FROM salts ORDER BY session"))
    with pytest.raises(LedgerError, match="is not stored: erased, pruned or archived"):
        ledger.payload("a", "0" * 64)


def test_an_erased_session_may_go_on(ledger: Ledger) -> None:
    """A process that has it in its memory takes a new salt."""
    goes_on(ledger, "a")
    retention.erase(ledger, ["a"], by="local:ann")
    goes_on(ledger, "a")

    assert () == verify(ledger.place).problems


def test_the_sessions_of_a_person_are_found_by_who_knows_the_name(ledger: Ledger) -> None:
    assert (["a", "b"], ["c"], []) == tuple(retention.sessions_of(ledger, person) for person in ("7", "8", "9"))
    retention.erase(ledger, ["a"], by="local:ann")
    assert ["b"] == retention.sessions_of(ledger, "7")


def test_pruning_takes_what_is_old_and_no_more(ledger: Ledger) -> None:
    before = time.time_ns()
    goes_on(ledger, "a")
    done = retention.prune(ledger, before, by="local:ann")

    assert 12 == done.payloads
    with ledger.store().reader() as reader:
        assert [("a",)] == list(reader.rows("SELECT session FROM payloads"))
    assert () == verify(ledger.place).problems


def test_a_payload_taken_without_a_word_is_found_after_a_pruning_too(ledger: Ledger) -> None:
    retention.prune(ledger, time.time_ns(), by="local:ann")
    goes_on(ledger, "a")
    with_store(ledger, "DELETE FROM payloads WHERE session='a'")

    assert "is gone, and no erasure is on record" in str(verify(ledger.place).problems[0])


def with_store(ledger: Ledger, *statements: str) -> None:
    with closing(ledger.store()) as store:
        store.change(lambda change: [change.execute(statement) for statement in statements])  # type: ignore[func-returns-value]


@pytest.fixture
def archived(ledger: Ledger, tmp_path: Path) -> Path:
    """Sessions a, b and c in an archive."""
    file = tmp_path / "archive" / "old.db"
    done = retention.archive(ledger, time.time_ns(), file, by="local:ann")
    assert (("a", "b", "c"), 9) == (tuple(sorted(done.sessions)), done.rows)
    return file


def test_an_archive_is_whole_by_itself_and_with_its_ledger(ledger: Ledger, archived: Path, tmp_path: Path) -> None:
    alone, main, together = verify(archived), verify(ledger.place), verify(ledger.place, archives=[archived])

    assert [(), (), ()] == [alone.problems, main.problems, together.problems]
    assert (9, 3, 12) == (alone.events, main.events, together.events)
    assert SECRET.encode() not in raw(ledger, tmp_path)


def test_an_archived_session_may_go_on_and_be_archived_again(ledger: Ledger, archived: Path) -> None:
    goes_on(ledger, "a")
    head = ledger.head("a")
    assert head is not None and (4, 10) == (head.n, head.tokens)
    assert () == verify(ledger.place, archives=[archived]).problems

    retention.archive(ledger, time.time_ns(), archived, by="local:ann")

    assert () == verify(ledger.place, archives=[archived]).problems


def test_the_second_half_of_a_session_may_be_in_another_archive(ledger: Ledger, archived: Path) -> None:
    goes_on(ledger, "a")
    later = archived.with_name("later.db")
    retention.archive(ledger, time.time_ns(), later, by="local:ann")

    assert () == verify(ledger.place, archives=[archived, later]).problems


def test_erasing_reaches_the_archive(ledger: Ledger, archived: Path) -> None:
    retention.erase(ledger, ["a", "b", "c"], by="local:ann", archive=archived)

    assert SECRET.encode() not in b"".join(file.read_bytes() for file in archived.parent.iterdir())
    assert () == verify(ledger.place, archives=[archived]).problems


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM archived WHERE session='a'", "what stands for these rows is gone"),
        ("UPDATE archived SET n=2 WHERE session='a'", "nobody has put that on record"),
        ("UPDATE archived SET shares='[]' WHERE session='a'", "nobody has put that on record"),
    ],
)
def test_a_tombstone_is_as_good_as_the_rows(ledger: Ledger, archived: Path, statement: str, expected: str) -> None:
    with_store(ledger, statement)

    assert any(expected in str(problem) for problem in verify(ledger.place).problems)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET body='{}' WHERE session='a' AND n=2",
        "DELETE FROM events WHERE session='a'",
        "DELETE FROM payloads WHERE session='a'",
    ],
)
def test_tampering_with_an_archive_is_found(ledger: Ledger, archived: Path, statement: str) -> None:
    with closing(sqlite3.connect(archived)) as db, db:
        db.execute(statement)

    assert any("in the archive" in str(problem) for problem in verify(ledger.place, archives=[archived]).problems)


def test_a_session_that_no_archive_holds_is_found(ledger: Ledger, archived: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(archived)) as db, db:
        for table in ("events", "heads", "payloads", "salts"):
            db.execute(f"DELETE FROM {table} WHERE session='a'")

    assert "a: was archived, and is in none of the archives given" in [
        str(problem) for problem in verify(ledger.place, archives=[archived]).problems
    ]


def test_a_tombstone_that_nobody_looked_behind_is_said_to_be_one(ledger: Ledger, archived: Path) -> None:
    alone, together = verify(ledger.place), verify(ledger.place, archives=[archived])

    assert ({"a": 3, "b": 3, "c": 3}, ("old.db",)) == (alone.unseen, alone.archives)
    assert {} == together.unseen


def test_an_archive_takes_only_what_is_old(ledger: Ledger, tmp_path: Path) -> None:
    moment = time.time_ns()
    goes_on(ledger, "a")
    done = retention.archive(ledger, moment, tmp_path / "x" / "old.db", by="local:ann")

    assert ("b", "c") == tuple(sorted(done.sessions))


def test_a_ledger_in_use_is_no_archive(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other.db")
    other.record("z", "x")
    other.close()

    with pytest.raises(LedgerError, match="not an archive; name another file"):
        retention.archive(ledger, time.time_ns(), other.path, by="local:ann")
