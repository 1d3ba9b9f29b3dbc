"""The room on the ledger's disk: said when it gets low, the end before it is out, and on again after."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from governance.errors import LedgerError
from governance.plane import disk
from governance.plane.amounts import size, span
from governance.plane.disk import Watermark
from governance.plane.ledger import Ledger
from governance.plane.ledger_file import LedgerFile
from governance.plane.verify import verify

ROOT = Path(__file__).resolve().parents[3]


def test_a_change_is_told_once() -> None:
    left = [1000]
    mark = Watermark("l.db", 400, lambda: left[0])

    def look(free: int, at: float) -> Any:
        left[0] = free
        return mark.look(at)

    assert [None, "low", None, "out", "low", "enough"] == [
        look(free, at * 10.0) for at, free in enumerate([1000, 399, 300, 99, 100, 400], 1)
    ]


def test_it_is_not_looked_at_all_the_time() -> None:
    looked: list[int] = []
    mark = Watermark("l.db", 400, lambda: looked.append(1) or 500)
    for at in (1.0, 1.5, 2.9, 3.1):
        mark.look(at)

    assert 2 == len(looked)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that every disk says it has left."""
    left = [10**9]
    monkeypatch.setattr(LedgerFile, "free", lambda self: left[0])
    monkeypatch.setattr(disk, "EVERY", 0.0)
    return left


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_below_a_quarter_nothing_goes_on_until_there_is_room_again(tmp_path: Path, room: list[int]) -> None:
    ledger = Ledger(tmp_path / "ledger.db", min_free=400_000_000)
    for free in (10**9, 10**8 - 1):
        room[0] = free
        ledger.record("s", "x")
        ledger.flush()
        time.sleep(0.1)
    with pytest.raises(LedgerError, match=r"has 100 MB left, less than a quarter of the 400 MB") as caught:
        ledger.check()
    assert "ledger-disk" == caught.value.code

    room[0] = 10**9
    until = time.monotonic() + 5
    while ledger.broken is not None and time.monotonic() < until:
        time.sleep(0.02)
        try:
            ledger.check()
        except LedgerError:
            pass
    ledger.record("s", "x")
    ledger.close()

    with ledger.store().reader() as reader:
        states = [body for (body,) in reader.rows("SELECT body FROM events WHERE kind='ledger.disk' ORDER BY n")]
    assert ['"state":"out"', '"state":"enough"'] == [body.rpartition(",")[2].rstrip("}") for body in states]
    assert verify(ledger.path).ok


def test_a_disk_that_gets_low_is_warned_of(tmp_path: Path, room: list[int]) -> None:
    said: list[str] = []
    mark = Watermark("l.db", 400_000_000, lambda: 300_000_000)
    with pytest.warns(RuntimeWarning, match=r"l.db has 300 MB left, below the 400 MB of \[ledger\] min_free"):
        said.append(str(mark.look()))
        mark.warn()

    assert ["low"] == said


FULL = """
import resource, signal, sys
from governance.errors import LedgerError
from governance.plane.ledger import Ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = Ledger(sys.argv[1], min_free=0)
ledger.record("s", "x")
ledger.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
kept = 1
try:
    for n in range(100_000):
        ledger.record("s", "x", body={"text": "y" * 5000})
        ledger.flush()
        kept += 1
except LedgerError as error:
    print(kept, error.reason, flush=True)
"""


def test_a_disk_that_is_full_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The limit on a file's size stands in for it."""
    path = tmp_path / "ledger.db"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    kept, _, reason = done.stdout.partition(" ")

    assert "cannot be written" in reason, done.stderr
    found = verify(path)
    assert (True, True) == (found.ok, found.events >= int(kept) > 10)


@pytest.mark.parametrize(("text", "expected"), [("200MB", 200_000_000), ("1.5 gb", 1_500_000_000), ("7b", 7)])
def test_a_size_as_people_write_it(text: str, expected: int) -> None:
    assert expected == size(text)


@pytest.mark.parametrize(("text", "expected"), [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("1y", 31_536_000)])
def test_a_span_as_people_write_it(text: str, expected: float) -> None:
    assert expected == span(text)


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "90 days", "1e3s"])
def test_what_is_no_amount_says_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as 90d"):
        span(text)
