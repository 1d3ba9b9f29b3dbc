"""The tamper benchmark changes what it says it changes, and puts the ledger back as it was."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.tamper import is_found
from benchmarks.tamper_victims import Victim, file_victim
from benchmarks.tamper_ways import TAMPERINGS, cut_tail
from governance.plane.verify import verify


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return file_victim(tmp_path / "ledger.db", random.Random(3))


@pytest.mark.parametrize("tampering", dict.fromkeys(TAMPERINGS), ids=lambda one: one.__name__)
def test_each_way_to_tamper_is_found_and_undone(tampering: object, victim: Victim) -> None:
    assert callable(tampering)
    with victim.edit() as db:
        tampering(db, random.Random(5))
    found = is_found(victim, [victim.anchor])
    victim.restore()

    assert (True, ()) == (found, verify(victim.place, anchors=[victim.anchor]).problems)


def test_a_tail_that_was_cut_with_all_that_goes_with_it_shows_by_an_anchor_alone(victim: Victim) -> None:
    with victim.edit() as db:
        cut_tail(db, random.Random(5))

    assert (True, False) == (is_found(victim, [victim.anchor]), is_found(victim, []))
