"""Every way to tamper with a ledger is found, and an honest one never raises an alarm."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from governance.errors import LedgerError
from governance.plane.ledger import Ledger
from governance.plane.ledger_rows import event_hash
from governance.plane.verify import verify

COLUMNS = ("session", "n", "g", "ts", "kind", "path", "actor", "body", "prev", "hash")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with sessions a and b of five rows each."""
    written = Ledger(tmp_path / "ledger.db")
    for number in range(5):
        for session in ("a", "b"):
            written.record(session, "model.ended", path=f"say#{number}", actor="say", body={"i": number}, tokens=number)
    written.flush()
    written.close()
    return written.path


def tamper(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def problems(path: Path, **known: tuple[int, str]) -> list[str]:
    return [str(problem) for problem in verify(path, heads=known).problems]


def test_an_honest_ledger_is_whole(ledger: Path) -> None:
    """Nothing changed, nothing found, and every chain's end is told."""
    found = verify(ledger)

    assert (True, 10, 2, ()) == (found.ok, found.events, found.sessions, found.problems)
    assert {"a", "b"} == set(found.heads)
    assert [] == problems(ledger, **found.heads)


@pytest.mark.parametrize("column", COLUMNS)
def test_an_edit_of_any_field_is_found(ledger: Path, column: str) -> None:
    """Each stored field of a row is covered, its own hash included."""
    changed = {"n": "n + 100", "g": "g + 1", "ts": "ts + 1"}.get(column, f"{column} || 'x'")
    tamper(ledger, f"UPDATE events SET {column} = {changed} WHERE session = 'a' AND n = 3")

    assert not verify(ledger).ok


@pytest.mark.parametrize("value", ["x'ff'", "1.5", "''"])
def test_a_value_of_another_type_is_found(ledger: Path, value: str) -> None:
    """SQLite lets a column hold anything, text that is no text included."""
    tamper(ledger, f"UPDATE events SET body = {value} WHERE session = 'a' AND n = 3")

    assert any(found.startswith("a:3: was changed") for found in problems(ledger))


def test_text_that_cannot_be_decoded_is_found(ledger: Path) -> None:
    """Bytes that are no UTF-8 neither end the check nor hide what else is wrong."""
    tamper(
        ledger,
        "UPDATE events SET actor = CAST(x'ff' AS TEXT) WHERE session = 'a' AND n = 2",
        "DELETE FROM events WHERE session = 'b' AND n = 4",
    )

    found = problems(ledger)

    assert any(line.startswith("a:2: was changed") for line in found)
    assert "b:5: row 4 is missing before it" in found


def test_a_dropped_row_is_found(ledger: Path) -> None:
    """Numbers are consecutive from 1."""
    tamper(ledger, "DELETE FROM events WHERE session = 'a' AND n = 1")

    assert ["a:2: row 1 is missing before it"] == [line for line in problems(ledger) if ":2" in line]


def test_a_dropped_row_is_found_after_renumbering(ledger: Path) -> None:
    """The number is part of the hash, and so is the row before."""
    tamper(
        ledger,
        "DELETE FROM events WHERE session = 'a' AND n = 3",
        "UPDATE events SET n = n - 1 WHERE session = 'a' AND n > 3",
        "UPDATE heads SET n = 4 WHERE session = 'a'",
    )

    assert not verify(ledger).ok


def test_swapped_rows_are_found(ledger: Path) -> None:
    """Two rows that change places no longer follow what they followed."""
    tamper(
        ledger,
        "UPDATE events SET n = 99 WHERE session = 'a' AND n = 2",
        "UPDATE events SET n = 2 WHERE session = 'a' AND n = 3",
        "UPDATE events SET n = 3 WHERE session = 'a' AND n = 99",
    )

    assert not verify(ledger).ok


def test_a_row_of_another_session_is_found(ledger: Path) -> None:
    """The session is part of the hash."""
    tamper(
        ledger,
        "DELETE FROM events WHERE session = 'a' AND n = 3",
        "UPDATE events SET session = 'a' WHERE session = 'b' AND n = 3",
    )

    assert any(line.startswith("a:3: ") for line in problems(ledger))


def test_an_inserted_row_with_a_right_hash_is_found(ledger: Path) -> None:
    """A row that somebody hashed by the rule still has to follow the last one and be the head."""
    digest = event_hash("", "a", 6, 6, 1, "k", "", "", "{}")
    tamper(ledger, f"INSERT INTO events VALUES('a', 6, 6, 1, 'k', '', '', '{{}}', '', '{digest}')")

    assert "a:6: does not follow the row before it: another chain goes on here" in problems(ledger)


def test_a_second_chain_beside_the_first_is_found(ledger: Path) -> None:
    """A table without its key can hold two rows of one number."""
    tamper(
        ledger,
        "CREATE TABLE copy AS SELECT * FROM events",
        "DROP TABLE events",
        "ALTER TABLE copy RENAME TO events",
        "INSERT INTO events SELECT * FROM events WHERE session = 'a'",
    )

    found = problems(ledger)

    assert "the table 'events' is not declared as Sidecar declares it" in found
    assert "a:1: stands after row 1: a second chain" in found


def test_a_second_head_is_found(ledger: Path) -> None:
    """One session, one end."""
    tamper(
        ledger,
        "CREATE TABLE copy AS SELECT * FROM heads",
        "DROP TABLE heads",
        "ALTER TABLE copy RENAME TO heads",
        "INSERT INTO heads SELECT * FROM heads WHERE session = 'a'",
    )

    assert "a: has 2 heads" in problems(ledger)


@pytest.mark.parametrize("column", ["n", "hash", "tokens"])
def test_an_edited_head_is_found(ledger: Path, column: str) -> None:
    """Heads are recomputed from the rows, the tokens spent included."""
    tamper(ledger, f"UPDATE heads SET {column} = 7 WHERE session = 'a'")

    assert [f"a: the head says {column}"] == [line[: len(f"a: the head says {column}")] for line in problems(ledger)]


def test_rows_without_a_head_are_found(ledger: Path) -> None:
    tamper(ledger, "DELETE FROM heads WHERE session = 'a'")

    assert ["a: has rows but no head"] == problems(ledger)


def test_a_head_without_rows_is_found(ledger: Path) -> None:
    tamper(ledger, "DELETE FROM events WHERE session = 'a'")

    assert "a: the heads say 5 rows, there is none: the session was removed" in problems(ledger)


def test_a_cut_tail_is_found_by_its_head(ledger: Path) -> None:
    tamper(ledger, "DELETE FROM events WHERE session = 'a' AND n > 3")

    assert "a: the head says n 5, the rows say 3" in problems(ledger)


CUT = (
    "DELETE FROM events WHERE session = 'a' AND n > 3",
    "UPDATE heads SET n = 3, tokens = 3, hash = (SELECT hash FROM events WHERE session = 'a' AND n = 3) "
    "WHERE session = 'a'",
)


def test_a_cut_tail_with_its_head_adjusted_does_not_add_up(ledger: Path) -> None:
    """The group it was committed in knows how many rows there were, and what their hashes add up to."""
    known = verify(ledger).heads
    tamper(ledger, *CUT)

    assert any("was committed with" in line for line in problems(ledger))
    assert f"a: ends at row 3, known up to row 5 ({known['a'][1][:12]}): its tail was cut" in problems(ledger, **known)


def test_a_chain_written_anew_is_found_by_a_head_known_earlier(ledger: Path) -> None:
    known = verify(ledger).heads
    tamper(ledger, *CUT)
    anew = Ledger(ledger)
    for _ in range(3):
        anew.record("a", "another")
    anew.flush()
    anew.close()

    assert any(line.startswith("a:5: has hash") for line in problems(ledger, **known))


def test_a_session_removed_with_its_head_is_found(ledger: Path) -> None:
    """Nothing is kept outside; what its rows were committed with tells."""
    tamper(ledger, "DELETE FROM events WHERE session = 'a'", "DELETE FROM heads WHERE session = 'a'")

    assert any("of them are gone" in line for line in problems(ledger))


@pytest.fixture
def grown(ledger: Path) -> Path:
    """The same ledger with a session c of one group that holds nothing else."""
    more = Ledger(ledger)
    more.record("c", "model.ended")
    more.flush()
    more.close()
    return ledger


LAST = (
    "DELETE FROM events WHERE session = 'c'",
    "DELETE FROM heads WHERE session = 'c'",
    "DELETE FROM groups WHERE g = (SELECT max(g) FROM groups)",
)


def test_the_newest_group_cut_away_whole_is_found_by_an_anchor(grown: Path) -> None:
    """Inside the ledger nothing tells; an anchor kept elsewhere does."""
    anchor = verify(grown).anchor
    assert anchor is not None
    tamper(grown, *LAST)

    assert verify(grown).ok
    assert [f"the ledger ends at group {anchor.g - 1}, anchored up to group {anchor.g}: its tail was cut"] == [
        str(problem) for problem in verify(grown, anchors=[anchor]).problems
    ]


def test_a_second_ledger_in_the_place_of_the_first_is_found_by_an_anchor(grown: Path) -> None:
    anchor = verify(grown).anchor
    assert anchor is not None
    grown.unlink()
    other = Ledger(grown)
    for _ in range(anchor.g + 1):
        other.record("a", "model.ended")
        other.flush()
    other.close()

    assert verify(grown).ok
    assert f"group {anchor.g} has hash" in str(verify(grown, anchors=[anchor]).problems[0])


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE groups SET ts = ts + 1 WHERE g = 1", "group 1 was changed after it was written"),
        ("UPDATE groups SET events = 7 WHERE g = 1", "group 1 was committed with 7 rows"),
        ("DELETE FROM groups WHERE g = 1", "group 2 stands after group 0: groups are missing"),
        ("UPDATE groups SET g = 9 WHERE g = (SELECT max(g) FROM groups)", "group 9 stands after group"),
        ("INSERT INTO groups SELECT g + 50, ts, 0, sum, prev, hash FROM groups WHERE g = 1", "group 51 stands after"),
    ],
)
def test_an_edit_of_the_chain_of_groups_is_found(grown: Path, statement: str, expected: str) -> None:
    """Each stored field of a group is covered, and its rows are counted and added up."""
    tamper(grown, statement)

    assert any(expected in line for line in problems(grown))


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
    monkeypatch.setattr("governance.plane.verify.PROBLEMS_KEPT", 2)
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
