"""The tamper benchmark changes what it says it changes, and puts the ledger back as it was."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.tamper import TAMPERINGS, Victim, file_victim
from governance.errors import LedgerError
from governance.plane.verify import verify


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return file_victim(tmp_path / "ledger.db", random.Random(3))


@pytest.mark.parametrize("tampering", dict.fromkeys(TAMPERINGS), ids=lambda one: one.__name__)
def test_each_way_to_tamper_is_found_and_undone(tampering: object, victim: Victim) -> None:
    assert callable(tampering)
    with victim.edit() as db:
        tampering(db, random.Random(5))
    try:
        found = bool(verify(victim.place, anchors=[victim.anchor]).problems)
    except LedgerError:
        found = True
    victim.restore()

    assert (True, ()) == (found, verify(victim.place, anchors=[victim.anchor]).problems)
