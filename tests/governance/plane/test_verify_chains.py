"""Chains against their ends: heads, groups, what was known earlier, and anchors kept elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from governance.plane.ledger import Ledger
from governance.plane.verify import verify
from tests.governance.plane.tampered import problems, tamper, two_sessions


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return two_sessions(tmp_path / "ledger.db")


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
