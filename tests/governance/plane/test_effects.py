"""Effects by their place: begun, finished, in doubt; one winner among many; the truth after a kill."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from governance.plane.control import Control
from governance.plane.effects import Effects, Finished, Fresh, InDoubt, Intent, Running

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def effects(tmp_path: Path) -> Iterator[Effects]:
    control = Control(tmp_path / "control.db")
    yield Effects(control)
    control.close()


def begin(effects: Effects, key: str = "s/p", digest: str = "d", execution: str = "e") -> Any:
    return effects.begin(Intent(key, "s", "pay", digest, "{}", execution))


def test_a_place_is_fresh_once(effects: Effects) -> None:
    assert isinstance(begin(effects), Fresh)
    assert Running("d") == begin(effects, digest="other")


def test_an_intent_left_behind_is_in_doubt_and_then_the_next_ones_own(effects: Effects) -> None:
    begin(effects)
    effects.leave("s/p", "e")

    assert InDoubt("d") == begin(effects, execution="second")
    assert Running("d") == begin(effects, execution="third")


def test_a_call_that_asked_a_person_before_it_did_anything_is_made_as_the_first(effects: Effects) -> None:
    begin(effects)
    effects.asked("s/p", "e")

    assert isinstance(begin(effects, execution="later"), Fresh)


def test_a_lease_is_renewed_while_its_process_lives(effects: Effects) -> None:
    """Long work stays its owner's; the watcher of the control file renews what is held."""

    def runs_out() -> float:
        with effects.control.transaction() as db:
            return float(db.execute("SELECT lease FROM effects").fetchone()[0])

    begin(effects)
    first, deadline = runs_out(), time.monotonic() + 30
    while runs_out() == first and time.monotonic() < deadline:
        time.sleep(0.05)

    assert runs_out() > first


def test_work_whose_lease_has_not_run_out_is_nobody_elses(tmp_path: Path) -> None:
    mine, other = (Effects(Control(tmp_path / "control.db")) for _ in range(2))
    begin(mine)

    assert Running("d") == begin(other, execution="other")
    for one in (mine, other):
        one.control.close()


@pytest.mark.parametrize("outcome", ["paid", None, 3, {"a": [1, 2]}, ToolMessage("paid", tool_call_id="c")])
def test_a_finished_effect_gives_its_outcome_as_the_value_it_was(outcome: Any, effects: Effects) -> None:
    begin(effects)
    effects.finish("s/p", "e", outcome)

    assert Finished("d", outcome) == begin(effects, digest="other")


def test_an_intent_that_was_withdrawn_is_forgotten(effects: Effects) -> None:
    begin(effects)
    effects.withdraw("s/p", "e")

    assert isinstance(begin(effects), Fresh)


def test_a_finished_effect_cannot_be_withdrawn(effects: Effects) -> None:
    begin(effects)
    effects.finish("s/p", "e", "paid")
    effects.withdraw("s/p", "e")

    assert isinstance(begin(effects), Finished)


def test_places_do_not_know_of_each_other(effects: Effects) -> None:
    assert [Fresh()] * 3 == [begin(effects, key) for key in ("s/a", "s/b", "t/a")]


@pytest.mark.parametrize(("many", "shared"), [(50, True), (10, False)])
def test_of_many_at_one_place_one_begins(many: int, shared: bool, effects: Effects) -> None:
    """Threads on one connection, or each with its own as processes would have."""
    found: list[Any] = []
    gate = threading.Barrier(many)

    def works(one: Effects) -> None:
        gate.wait()
        found.append(begin(one))

    own = [effects if shared else Effects(Control(effects.control.path)) for _ in range(many)]
    begin(effects, "another place")  # the file is there
    threads = [threading.Thread(target=works, args=(one,)) for one in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in own:
        one.control.close()

    assert 1 == sum(isinstance(one, Fresh) for one in found)
    assert many - 1 == sum(isinstance(one, Running) for one in found)


KILLED = """
import os, sys
from governance.plane.control import Control
from governance.plane.effects import Effects, Intent
effects = Effects(Control(sys.argv[1]), lease=0.2)
print(type(effects.begin(Intent("s/p", "s", "pay", "d", "{}", "e"))).__name__)
if sys.argv[2] == "finished":
    effects.finish("s/p", "e", "paid")
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("when", "expected"), [("intent", InDoubt("d")), ("finished", Finished("d", "paid"))])
def test_after_a_kill_the_place_says_how_far_it_got(when: str, expected: Any, effects: Effects) -> None:
    """An intent is in doubt once the lease of the dead has run out."""
    run = [sys.executable, "-c", KILLED, str(effects.control.path), when]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert ("Fresh\n", -9) == (done.stdout, done.returncode)
    while isinstance(begin(effects, execution="later"), Running):
        time.sleep(0.05)
    effects.leave("s/p", "later")
    assert expected == begin(effects, execution="later")
