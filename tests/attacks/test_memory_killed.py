"""A process that is killed while it writes loses nothing that it was told is there, and no index disagrees afterwards."""

from __future__ import annotations

from pathlib import Path

from benchmarks.memory_kills import kills


def test_kills_lose_nothing_acknowledged_and_leave_the_tiers_equal(tmp_path: Path) -> None:
    figures = kills(tmp_path, 3)

    assert (3, 0, 0) == (figures["kills"], figures["lost"], figures["unequal"])
    assert figures["acknowledged"] > 0
