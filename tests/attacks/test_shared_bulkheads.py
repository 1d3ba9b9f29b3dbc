"""Three real processes at one dependency never have more calls there than it may have, whoever is killed or frozen."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bulkhead_crowd import LIMIT, crowded


def test_a_limit_holds_for_all_processes_and_no_lease_is_lost_for_ever(tmp_path: Path) -> None:
    seen = crowded(tmp_path)

    assert seen.most <= LIMIT
    assert min(seen.shares) > 0
    assert seen.after > 0
    assert seen.again > 0
