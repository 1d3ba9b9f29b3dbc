"""The benchmark's shapes replay, and its changes are of every kind and lie where the shape says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.replay import again, planted, record
from benchmarks.replay_kills import Kill
from benchmarks.replay_shapes import PLANTS, SHAPES  # filled by what is imported above
from governance import Sidecar

KINDS = {"prompt", "result", "route", "reducer", "order", "undeclared"}


@pytest.mark.parametrize("name", SHAPES)
def test_a_session_of_each_shape_is_equal_until_something_is_planted(
    name: str, sidecar: Sidecar, tmp_path: Path
) -> None:
    other = Sidecar(ledger=tmp_path / "unused.db")
    recording, _ = record(name, 7, sidecar)
    plant = next(plant for shape, plant in PLANTS if shape == name)

    assert again(name, 7, recording, other).equal
    found = again(name, 7, recording, other, plant).divergence
    assert found is not None and PLANTS[name, plant] == (found.path, found.what)


def test_a_session_that_was_killed_is_equal_too(sidecar: Sidecar, tmp_path: Path) -> None:
    recording, kills = record("agent", 7, sidecar, kill=Kill(2, after=True))

    assert 1 == kills
    assert again("agent", 7, recording, Sidecar(ledger=tmp_path / "unused.db")).equal


def test_twenty_changes_are_of_every_kind_and_each_kind_of_several_shapes() -> None:
    chosen = list(planted(20))
    kinds = Counter(plant.partition("_")[0] for _, plant in chosen)

    assert KINDS == kinds.keys() and min(kinds.values()) >= 3
    assert all(len({name for name, plant in chosen if plant.startswith(kind)}) >= 3 for kind in KINDS)
