"""The ledger on PostgreSQL, where it is not as in a file: connections that are lost, a schema that somebody changed."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from governance.errors import LedgerError
from governance.plane.ledger import Ledger
from governance.plane.verify import verify

ROOT = Path(__file__).resolve().parents[3]


def write(url: str, sessions: tuple[str, ...] = ("a", "b"), rows: int = 5) -> None:
    ledger = Ledger(url)
    for number in range(rows):
        for session in sessions:
            ledger.record(session, "model.ended", path=f"say#{number}", actor="say", body={"i": number}, tokens=number)
    ledger.flush()
    ledger.close()


def test_what_was_recorded_is_whole(postgres: str) -> None:
    write(postgres)
    write(postgres)
    found = verify(postgres)

    assert (True, 20, 2) == (found.ok, found.events, found.sessions)
    assert (head := Ledger(postgres).head("a")) is not None
    assert (10, 20) == (head.n, head.tokens)


def test_there_is_no_head_before_the_first_event(postgres: str) -> None:
    assert Ledger(postgres).head("a") is None
    with pytest.raises(LedgerError, match="holds no ledger: it has no table"):
        verify(postgres)


def test_a_lost_connection_is_taken_up_again_and_nothing_is_written_twice(postgres: str, postgres_server: str) -> None:
    ledger = Ledger(postgres)
    for number in range(4):
        ledger.record("a", "x", body={"n": number})
        ledger.flush()
        with psycopg.connect(postgres_server, autocommit=True) as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='sidecar'")
    ledger.close()

    assert (True, 4) == ((found := verify(postgres)).ok, found.events)


def test_a_server_that_is_not_there_breaks_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(f"postgresql://somebody:secret@/x?host={tmp_path}", patience=0.1)
    ledger.record("a", "x")

    with pytest.raises(LedgerError, match="cannot be reached") as caught:
        ledger.flush()
    assert "secret" not in caught.value.reason
    with pytest.raises(LedgerError, match="cannot be read"):
        ledger.head("a")
    ledger.close()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE events SET body = '{}' WHERE session='a' AND n=3", "a:3: was changed"),
        ("DELETE FROM events WHERE session='a' AND n=3", "row 3 is missing"),
        ("DELETE FROM events WHERE session='a'; DELETE FROM heads WHERE session='a'", "of them are gone"),
        ("ALTER TABLE events DROP CONSTRAINT events_pkey", "the table 'events' has lost its key"),
    ],
)
def test_tampering_is_found(postgres: str, statement: str, expected: str) -> None:
    write(postgres)
    with psycopg.connect(postgres) as db:
        db.execute(statement)

    assert any(expected in str(problem) for problem in verify(postgres).problems)
