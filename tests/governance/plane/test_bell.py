"""A ring is heard by every process that has the same bell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from governance.plane.bell import Bell

ROOT = Path(__file__).resolve().parents[3]
RINGING = "import sys; from pathlib import Path; from governance.plane.bell import Bell; Bell(Path(sys.argv[1])).ring()"


def test_a_ring_of_another_process_is_heard(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "bell")
    before = bell.heard()
    subprocess.run([sys.executable, "-c", RINGING, str(tmp_path / "bell")], cwd=ROOT, check=True, timeout=60)

    assert before != bell.heard()


def test_no_two_rings_are_alike(tmp_path: Path) -> None:
    bell, heard = Bell(tmp_path / "bell"), set[bytes]()
    for _ in range(100):
        bell.ring()
        heard.add(bell.heard())

    assert 100 == len(heard)


def test_a_bell_where_nothing_can_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError):
        Bell(tmp_path / "file" / "bell")


def test_what_is_announced_is_on_its_way_until_it_has_arrived(tmp_path: Path) -> None:
    mine, other = Bell(tmp_path / "bell"), Bell(tmp_path / "bell")
    heard = other.heard()
    mine.announce(5.0)

    assert (5.0, True) == (other.announced(), heard != other.heard())
    mine.arrived(5.0)
    assert 0.0 == other.announced()


def test_one_that_was_announced_since_is_still_on_its_way(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "bell")
    bell.announce(5.0)
    bell.announce(6.0)
    bell.arrived(5.0)

    assert 6.0 == bell.announced()
