"""What holds for a ledger wherever it is kept: many processes, kills, forks, text that no database likes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from governance.plane.ledger import Ledger
from governance.plane.ledger_store import Place
from governance.plane.verify import verify

ROOT = Path(__file__).resolve().parents[3]
WRITING = """
import sys
from governance.plane.ledger import Ledger
ledger = Ledger(sys.argv[1])
for n in range(200):
    ledger.record("shared", "x", body={"n": n})
    if n % 20 == 0:
        ledger.flush()
ledger.flush()
print("flushed", flush=True)
if len(sys.argv) > 2:
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return tmp_path / "ledger.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres"))


@pytest.mark.parametrize("killed", [False, True])
def test_several_processes_keep_one_chain(place: Place, killed: bool) -> None:
    """Each row that was acknowledged is there, also after a SIGKILL."""
    run = [sys.executable, "-c", WRITING, str(place), *(["kill"] if killed else [])]
    started = [subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in started]

    assert ["flushed\n"] * 3 == outputs
    assert {-signal.SIGKILL if killed else 0} == {process.returncode for process in started}
    found = verify(place)
    assert (True, 600, 1) == (found.ok, found.events, found.sessions)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_writes_its_own_events_and_none_of_its_parents(place: Place) -> None:
    """On a connection of its own."""
    ledger = Ledger(place)
    ledger.record("s", "parent")
    ledger.flush()
    ledger.record("s", "parent")  # may still be queued in the moment of the fork
    child = os.fork()
    if child == 0:
        try:
            ledger.record("s", "child")
            ledger.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    ledger.record("s", "parent")
    ledger.flush()
    ledger.close()

    with ledger.store().reader() as reader:
        kinds = sorted(kind for (kind,) in reader.rows("SELECT kind FROM events"))
    assert (["child", "parent", "parent", "parent"], True) == (kinds, verify(place).ok)


@pytest.mark.parametrize("text", ["päth", "\ud800", "x\x00y", "a" * 100_000, "\\N\t\r\n"])
def test_hostile_text_is_on_record_and_the_chain_holds(text: str, place: Place) -> None:
    ledger = Ledger(place)
    ledger.record(text, "x", path=text, actor=text, body={"text": text, text: 1}, payloads={"input": text})
    ledger.flush()
    ledger.close()

    assert (True, 1) == ((found := verify(place)).ok, found.events)
