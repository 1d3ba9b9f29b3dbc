"""Ctrl-C and a full disk leave whole files behind."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess

import pytest

from governance.plane.verify import verify
from tests.governance.cli.conftest import Project

WAITING = """
import time
from agent import add, chain

def wait(state):
    open("running", "w").close()
    for _ in range({tenths}):
        time.sleep(0.1)
    return {{"n": 100}}

graph = chain(add, wait).compile()
"""


def stop_at(process: subprocess.Popen[str], line: str, times: int) -> str:
    """Press Ctrl-C once a line is seen, and again once that was noticed; all that it said since."""
    assert process.stderr is not None
    for seen in process.stderr:
        if line in seen:
            break
    process.send_signal(signal.SIGINT)
    said = next(iter(process.stderr))
    for _ in range(times - 1):
        process.send_signal(signal.SIGINT)
    return said + process.communicate(timeout=60)[1]


@pytest.mark.parametrize(("times", "tenths"), [(1, 5), (2, 600)])
def test_an_interrupted_run_is_kept_and_goes_on(project: Project, times: int, tenths: int) -> None:
    """Once waits for the step that runs, twice leaves at once; both keep what was finished."""
    project.write("slow.py", WAITING.format(tenths=tenths))
    process = project.start("run", "./slow.py:graph", "--input", "in.json", "--thread", "t")

    err = stop_at(process, "done    add", times)

    assert 130 == process.returncode
    assert "go on with: sidecar run ./slow.py:graph --thread t --resume" in err
    assert verify(project.path / ".sidecar/ledger.db").ok
    project.write("slow.py", WAITING.format(tenths=0))
    resumed = project.sidecar("run", "./slow.py:graph", "--thread", "t", "--resume")
    assert (0, {"n": 100}) == (resumed.code, resumed.json)
    assert "done    add" not in resumed.err


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"


@pytest.mark.parametrize("size", [4096, 16_384, 40_960])
def test_a_full_disk_is_one_line_and_nothing_half_written(project: Project, size: int) -> None:
    """Wherever it strikes: what is on the disk is a whole ledger or none, and the exit code says so."""
    project.write("many.py", "from agent import *\ngraph = chain(add).compile()\n")
    process = project.start("run", "./many.py:graph", "--input", "in.json", "--json", before=LIMITED.format(size=size))

    out, err = process.communicate(timeout=60)

    assert process.returncode == 5
    assert "Traceback" not in err and "error: " in err.strip().splitlines()[-1]
    assert not out or "failed" == json.loads(out)["status"]
    ledger = project.path / ".sidecar/ledger.db"
    with sqlite3.connect(ledger) as db:
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    assert not tables or verify(ledger).ok


def test_an_approval_that_cannot_be_put_on_record_is_not_given(project: Project) -> None:
    """The ledger is tried first; the card still waits."""
    project.sidecar("run", "./agent.py:approving", "--input", "in.json", "--thread", "t")
    project.write("flat", "")

    ended = project.sidecar(
        "approvals", "approve", "--by", "alice", "--ledger", "flat/l.db", "--control", ".sidecar/control.db"
    )

    assert (5, True) == (ended.code, "cannot be written" in ended.line)
    assert ["pending"] == [card["state"] for card in project.sidecar("approvals", "list", "--json").json]
