"""Effects of sessions whose process is killed: each happens once, and the session goes on with what happened."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from governance.errors import EffectInDoubt
from governance.plane.parked import settle, waiting
from tests.attacks.answers import CONFIG
from tests.attacks.bank import Bank, Runs, agent, asking_and_paying, die, fresh, line
from tests.fixtures import State


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("dies", ["before", "after"])
def test_an_effect_that_can_be_looked_up_is_made_once_and_its_session_goes_on(
    dies: Any, durability: Any, bank: Bank, tmp_path: Path
) -> None:
    """The model that is asked again would ask for another amount."""
    runs = Runs(tmp_path, lambda: line(n=asking_and_paying(bank)), durability)
    bank.dies = dies
    runs.killed({"out": ""})
    bank.dies = "never"
    said = runs.on(None)["out"]

    assert [f"paid {amount}" for amount in bank.paid] == [said]


def test_the_outcome_of_an_effect_outlives_the_process_that_had_it(bank: Bank, tmp_path: Path) -> None:
    runs = Runs(tmp_path, lambda: line(n=asking_and_paying(bank, lambda: die(len(bank.paid) == 1 and fresh(tmp_path)))))
    runs.killed({"out": ""})
    said = runs.on(None)["out"]

    assert [f"paid {amount}" for amount in bank.paid] == [said]


@pytest.mark.parametrize("finding", ["happened", "may-happen"])
def test_what_cannot_be_looked_up_waits_for_a_person_and_then_goes_on(finding: Any, tmp_path: Path) -> None:
    bank = Bank(tmp_path / "books", looks=False)
    runs = Runs(tmp_path, lambda: line(n=asking_and_paying(bank)))
    bank.dies = "after" if finding == "happened" else "before"
    runs.killed({"out": ""})
    bank.dies = "never"
    with pytest.raises(EffectInDoubt):
        runs.on(None)
    with closing(runs.control) as control:
        (parked,) = waiting(control)
        settle(control, parked.id, finding, outcome=f"paid {bank.paid[0]}" if bank.paid else None)
    said = runs.on(None)["out"]

    assert [f"paid {amount}" for amount in bank.paid] == [said]


def test_a_killed_branch_repeats_nothing_of_its_neighbours(bank: Bank, tmp_path: Path) -> None:
    def branch(state: Any) -> Any:
        said = asking_and_paying(bank)({})["out"]
        if state["amount"] == 1:
            time.sleep(0.2)
            die(fresh(tmp_path))
        return {"log": [said]}

    def build() -> Any:
        builder = StateGraph(State)
        builder.add_node("n", branch)
        builder.add_conditional_edges(START, lambda state: [Send("n", {"amount": n}) for n in range(3)], ["n"])
        return builder

    runs = Runs(tmp_path, build, "async")
    runs.killed({"out": ""})

    assert sorted(runs.on(None)["log"]) == sorted(f"paid {amount}" for amount in bank.paid)
    assert 3 == len(bank.paid)


class LateSaver(SqliteSaver):
    """A saver that takes its time, as one does on a busy disk."""

    def put(self, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.3)
        return super().put(*args, **kwargs)


def test_an_effect_waits_for_the_checkpoint_it_began_from(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the node before it would run again after the kill, and route elsewhere."""
    monkeypatch.setattr("tests.attacks.test_effects_killed.SqliteSaver", LateSaver)
    runs = Runs(tmp_path, lambda: agent(bank), "async")
    bank.dies = "after"
    runs.killed({"messages": []})
    with SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as saver:
        stored = [one.metadata["step"] for one in saver.list(CONFIG)]

    assert 2 in stored
