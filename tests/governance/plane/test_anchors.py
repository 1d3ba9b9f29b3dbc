"""Anchors given away while a graph runs: never ahead of the disk, and never in the way of the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from governance.errors import LedgerError
from governance.plane.anchors import Anchor, Write, read_anchors, write_to
from governance.plane.ledger import Ledger
from governance.plane.verify import verify


def three_groups(path: Path, anchor: Write, every: float) -> Ledger:
    ledger = Ledger(path, anchor=anchor, anchor_every=every)
    for _ in range(3):
        ledger.record("s", "x")
        ledger.flush()
    ledger.close()
    return ledger


@pytest.mark.parametrize(("every", "expected"), [(0, [1, 2, 3]), (1000, [1, 3])])
def test_each_end_that_was_given_away_is_found_again(tmp_path: Path, every: float, expected: list[int]) -> None:
    """Between two anchors there is time, and the last word is one."""
    given: list[Anchor] = []
    ledger = three_groups(tmp_path / "ledger.db", given.append, every)

    assert expected == [anchor.g for anchor in given]
    assert verify(ledger.path, anchors=given).ok


def test_an_anchor_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    def fails(anchor: Anchor) -> None:
        raise OSError("the line is dead")

    ledger = three_groups(tmp_path / "ledger.db", fails, 0)

    assert 1 == sum("the line is dead" in str(one.message) for one in recwarn)
    assert 3 == verify(ledger.path).events


def test_a_file_of_anchors_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "anchors"
    write = write_to(str(file))
    write(Anchor(1, "a", 5))
    write(Anchor(2, "b", 6))

    assert [Anchor(1, "a", 5), Anchor(2, "b", 6)] == read_anchors(str(file))


def test_a_dash_is_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    write_to("-")(Anchor(1, "a", 5))

    assert '{"g": 1, "hash": "a", "ts": 5}\n' == capsys.readouterr().out


@pytest.mark.parametrize("line", ["[]", "x", '{"g": 1}', '{"g": "x", "hash": "a"}', "7"])
def test_a_line_that_is_no_anchor_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "anchors"
    file.write_text(f'{{"g": 1, "hash": "a"}}\n\n{line}\n')

    with pytest.raises(LedgerError, match="anchors:3 is no anchor; expected"):
        read_anchors(str(file))
