"""A disk that refuses: enforce mode runs nothing, observe mode warns once, and nothing piles up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from governance import Contract, Sidecar, govern
from governance.errors import LedgerError
from governance.plane.ledger import Ledger


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A path where no ledger can be written: a file stands where its directory should be."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "ledger.db"


def test_a_disk_that_refuses_says_so_to_who_waits_and_to_who_checks(blocked: Path) -> None:
    ledger = Ledger(blocked)
    ledger.record("s", "x")

    with pytest.raises(LedgerError, match=r"cannot be written .* free the disk or mend its rights, then restart"):
        ledger.flush()
    with pytest.raises(LedgerError):
        ledger.check()
    ledger.close()


def test_enforce_mode_runs_nothing_without_a_record(blocked: Path, line: Any) -> None:
    ran: list[int] = []
    sidecar = Sidecar(ledger=blocked, control=blocked.parent.parent / "control.db")
    graph = govern(line(n=lambda state: ran.append(1) or {}), contracts={"n": Contract()}, sidecar=sidecar)
    sidecar.ledger.record("s", "x")
    with pytest.raises(LedgerError):
        sidecar.ledger.flush()

    for _ in range(2):
        with pytest.raises(LedgerError, match="cannot be written"):
            graph.invoke({"out": ""})
    assert [] == ran
    sidecar.close()


def test_observe_mode_warns_once_and_goes_on(blocked: Path, line: Any) -> None:
    sidecar = Sidecar(ledger=blocked)
    graph = govern(line(n=lambda state: {"out": "x"}), sidecar=sidecar)
    graph.invoke({"out": ""})
    with pytest.raises(LedgerError):
        sidecar.ledger.flush()

    with pytest.warns(RuntimeWarning, match="Sidecar observes without a record") as caught:
        found = [graph.invoke({"out": ""})["out"] for _ in range(3)]
    assert ["x"] * 3 == found
    assert 1 == len(caught)
    sidecar.close()


def test_events_that_cannot_be_written_do_not_pile_up(blocked: Path) -> None:
    ledger = Ledger(blocked)
    for _ in range(1000):
        ledger.record("s", "x")
    with pytest.raises(LedgerError):
        ledger.flush()

    assert 0 == len(ledger.queue)
    ledger.close()
