"""The ledger on PostgreSQL: the same chain, many processes, a server that goes away and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from governance.errors import LedgerError
from governance.plane.ledger import Ledger
from governance.plane.verify import verify

ROOT = Path(__file__).resolve().parents[3]
WRITING = """
import sys
from governance.plane.ledger import Ledger
ledger = Ledger(sys.argv[1])
for n in range(200):
    ledger.record("shared", "x", body={"n": n})
    if n % 20 == 0:
        ledger.flush()
ledger.flush()
print("flushed", flush=True)
if len(sys.argv) > 2:
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


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


@pytest.mark.parametrize("text", ["päth", "\ud800", "x\x00y", "a" * 100_000, "\\N\t\r\n"])
def test_hostile_text_is_on_record_and_the_chain_holds(text: str, postgres: str) -> None:
    ledger = Ledger(postgres)
    ledger.record(text, "x", path=text, actor=text, body={"text": text, text: 1}, payloads={"input": text})
    ledger.flush()
    ledger.close()

    assert verify(postgres).ok


@pytest.mark.parametrize("killed", [False, True])
def test_several_processes_keep_one_chain(postgres: str, killed: bool) -> None:
    """Each row that was acknowledged is there, also after a SIGKILL."""
    run = [sys.executable, "-c", WRITING, postgres, *(["kill"] if killed else [])]
    started = [subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in started]

    assert ["flushed\n"] * 3 == outputs
    assert {-signal.SIGKILL if killed else 0} == {process.returncode for process in started}
    found = verify(postgres)
    assert (True, 600, 1) == (found.ok, found.events, found.sessions)


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
    ledger = Ledger(f"postgresql://somebody:secret@/x?host={tmp_path}")
    ledger.record("a", "x")

    with pytest.raises(LedgerError, match="cannot be") as caught:
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_opens_a_connection_of_its_own(postgres: str) -> None:
    ledger = Ledger(postgres)
    ledger.record("a", "parent")
    ledger.flush()
    child = os.fork()
    if child == 0:
        try:
            ledger.record("a", "child")
            ledger.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    ledger.record("a", "parent")
    ledger.flush()
    ledger.close()

    assert (True, 3) == ((found := verify(postgres)).ok, found.events)
