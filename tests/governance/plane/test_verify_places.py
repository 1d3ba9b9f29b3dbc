"""What is no ledger is a clear error, what others declared in it is found, and who writes meanwhile raises no alarm."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from governance.errors import LedgerError
from governance.plane.ledger import Ledger
from governance.plane.verify import verify
from tests.governance.plane.tampered import problems, tamper, two_sessions


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return two_sessions(tmp_path / "ledger.db")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER quiet AFTER INSERT ON events BEGIN DELETE FROM events WHERE n = 1; END",
        "CREATE TABLE mine(x)",
        "CREATE VIEW shown AS SELECT * FROM events",
        "ALTER TABLE heads ADD COLUMN note TEXT",
        "PRAGMA user_version = 9",
    ],
)
def test_a_foreign_schema_is_found(ledger: Path, statement: str) -> None:
    """A trigger could undo what comes next; a newer version has rules this one does not know."""
    tamper(ledger, statement)

    assert not verify(ledger).ok


def test_so_many_problems_that_they_would_fill_memory_are_counted(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governance.plane.verify_audit.PROBLEMS_KEPT", 2)
    tamper(ledger, "UPDATE events SET body = '{}'")

    assert "problems more" in problems(ledger)[2]


def no_file(path: Path) -> None:
    path.unlink()


def no_database(path: Path) -> None:
    path.write_bytes(b"\xfe" * 5000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192)


@pytest.mark.parametrize("spoil", [no_file, no_database, empty, torn])
def test_what_is_no_ledger_is_a_clear_error(ledger: Path, spoil: Callable[[Path], None]) -> None:
    """The file is named, and so is what to do."""
    spoil(ledger)

    try:
        found = verify(ledger)
    except LedgerError as error:
        assert str(ledger) in error.reason and "\n" not in error.reason
    else:
        assert not found.ok


def test_progress_ends_at_the_number_of_rows(ledger: Path) -> None:
    seen: list[tuple[int, int]] = []

    verify(ledger, progress=lambda done, expected: seen.append((done, expected)))

    assert (10, 10) == seen[-1]


def test_text_that_utf8_does_not_know_is_stored_and_verified(tmp_path: Path) -> None:
    """A model can write a lone surrogate; it must neither stop the record nor look like an edit."""
    written = Ledger(tmp_path / "ledger.db")
    written.record("\ud800", "tool.ended", path="\ud801", actor="\ud802", body={"\ud803": "\ud804"})
    written.flush()
    written.close()

    assert verify(written.path).ok


def test_a_value_whose_own_code_fails_does_not_stop_the_record(tmp_path: Path) -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise ValueError("no")

    written = Ledger(tmp_path / "ledger.db")
    written.record("a", "node.ended", body={"value": Hostile()}, tokens=3)
    written.flush()
    written.close()

    assert verify(written.path).ok


def test_a_writer_that_was_closed_goes_on_after_another_process(tmp_path: Path) -> None:
    """What it knew about the chain is old by then."""
    first, second = Ledger(tmp_path / "ledger.db"), Ledger(tmp_path / "ledger.db")
    for writer in (first, second, first):
        writer.record("a", "x")
        writer.flush()
        writer.close()

    assert (True, 3) == (verify(first.path).ok, verify(first.path).events)


def write(path: Path, name: str, go: object) -> None:
    """One of several processes: a session of its own and one that all share."""
    go.wait()  # type: ignore[attr-defined]
    ledger = Ledger(path)
    for number in range(1000):
        ledger.record("shared" if number % 2 else name, "x", body={"by": name, "i": number}, tokens=number % 3)
        if number % 250 == 0:
            ledger.flush()
        if number == 600:
            ledger.close()
    ledger.flush()
    ledger.close()


def test_four_processes_on_one_session_raise_no_alarm(tmp_path: Path) -> None:
    """Also while they write: a check sees one moment of the file."""
    spawn = multiprocessing.get_context("spawn")
    go, path = spawn.Event(), tmp_path / "ledger.db"
    writers = [spawn.Process(target=write, args=(path, f"own-{number}", go)) for number in range(4)]
    for writer in writers:
        writer.start()
    go.set()
    alarms: list[str] = []
    while any(writer.is_alive() for writer in writers):
        if path.exists() and path.stat().st_size:
            alarms += during(path)
        writers[0].join(0.05)
    for writer in writers:
        writer.join()

    found = verify(path)

    assert [0, 0, 0, 0] == [writer.exitcode for writer in writers]
    assert ([], True, 4000, 5) == (alarms, found.ok, found.events, found.sessions)


def during(path: Path) -> list[str]:
    try:
        return problems(path)
    except LedgerError as error:  # the first writer has not made its tables yet
        return [] if "it has no table" in error.reason else [error.reason]
