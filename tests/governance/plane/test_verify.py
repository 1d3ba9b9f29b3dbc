"""Every way to tamper with the rows of a ledger is found, and an honest one never raises an alarm."""

from __future__ import annotations

from pathlib import Path

import pytest

from governance.plane.ledger_rows import event_hash
from governance.plane.verify import verify
from tests.governance.plane.tampered import problems, tamper, two_sessions

COLUMNS = ("session", "n", "g", "ts", "kind", "path", "actor", "body", "prev", "hash")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return two_sessions(tmp_path / "ledger.db")


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
