"""The demo: a newcomer's first minute, on real services, without a key."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from graphs import demo

ROOT = Path(__file__).parents[2]
RUN = "import sys; from graphs.demo import main; sys.exit(main())"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of the demo, as `--json` tells it."""
    ran = started(tmp_path_factory.mktemp("clone"), RUN.replace("main()", "main(json_output=True)"))
    out, errors = ran.communicate(timeout=120)
    assert 0 == ran.returncode, errors
    return dict(json.loads(out))


def started(place: Path, code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=place, env=environment, text=True, stdout=pipe, stderr=pipe
    )


def processes() -> dict[int, int]:
    """Every process of this machine with its parent."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return {int(pid): int(parent) for pid, parent in (line.split() for line in listed.splitlines())}


def descendants(ancestor: int) -> set[int]:
    parents, family = processes(), {ancestor}
    while new := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= new
    return family - {ancestor}


def test_the_service_is_broken_and_then_healed(story: dict[str, Any]) -> None:
    """By checkouts that the demo sends itself, besides what the graph measures."""
    rates = [story[when]["success_rate"] for when in ("healthy", "broken", "after")]

    assert [1.0, 0.6, 1.0] == rates
    assert ("healed", True) == (story["outcome"], story["healed"])


def test_what_was_refused_really_happened(story: dict[str, Any]) -> None:
    """An answer with invented evidence, and an action with an invented version: the words are the ledger's."""
    told = [(one["kind"], one["where"]) for one in story["refusals"]]

    assert [("gate.revise", "diagnose"), ("tool.answered", "act")] == told
    assert "cites evidence that does not exist" in story["refusals"][0]["reason"]
    assert "act may not call rollback_deploy like this" in story["refusals"][1]["reason"]


def test_the_action_was_approved_by_a_name(story: dict[str, Any]) -> None:
    """The demo's own operator, and exactly one action."""
    (approval,) = story["approvals"]

    assert ("approve", "demo") == (approval["decision"], approval["by"])
    assert {"service": "orders", "to_version": "1.4.0"} == story["action"]["args"]


def test_the_cost_is_counted_and_the_ledger_holds(story: dict[str, Any]) -> None:
    """Tokens by the recorded usage of a real model."""
    assert story["verified"]
    assert 1000 < story["tokens"] < 20_000
    assert 5 <= story["model_calls"] <= story["rows"]


def test_live_without_an_endpoint_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """And starts nothing."""
    assert 2 == demo.main(live=True)
    assert "expected OPENAI_API_KEY, or OPENAI_BASE_URL" in capsys.readouterr().err


def test_control_c_leaves_no_process(tmp_path: Path) -> None:
    """The services die with the demo, and the exit code says that it was stopped."""
    ran = started(tmp_path, RUN)
    assert ran.stdout is not None
    next(line for line in ran.stdout if line.startswith("broken"))
    family = descendants(ran.pid)
    ran.send_signal(signal.SIGINT)
    ran.communicate(timeout=60)

    assert 130 == ran.returncode
    assert len(family) >= 4
    assert set() == family & set(processes())
