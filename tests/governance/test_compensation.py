"""`compensate`: a graph and a session that fit each other, or an error that says what does."""

from __future__ import annotations

import time
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from governance import Policy, Sidecar, compensate, compensation
from governance.errors import ConfigurationError, UndoHeld
from governance.plane.effects import Intent
from governance.plane.steps import Step
from governance.policy_saga import SagaPolicy
from tests.attacks.answers import CONFIG
from tests.attacks.undoing import Desk, Refused, acts, fails, under_saga


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def failed(sidecar: Sidecar, line: Any, desk: Desk) -> Any:
    """A graph whose session failed and is not undone by itself."""
    sidecar.effects.lease = 0.3
    graph = line(compiled={"checkpointer": InMemorySaver(), "name": "shop"}, a=acts(desk.tool("a"), "7"), end=fails)
    graph = under_saga(graph, sidecar, Policy(saga=SagaPolicy(on=())))
    with pytest.raises(Refused):
        graph.invoke({"out": ""}, CONFIG)
    return graph


def test_what_was_undone_is_told_with_all_there_is_to_know(failed: Any) -> None:
    found = compensate(failed, "t", reason="given up", by="ann")
    (step,) = found.steps

    assert ("undone", ("a",), {"order": "7"}, "a 7", "a#1>a.0") == (
        found.state, found.undone, step.args, step.outcome, step.path,
    )  # fmt: skip
    assert "session t: 1 of 1 effects undone" == str(found)


def test_a_session_that_is_undone_already_is_told_again(failed: Any, desk: Desk) -> None:
    found = [compensate(failed, "t", reason="given up") for _ in range(2)]

    assert found[0] == found[1]
    assert ["a 7", "undo a 7"] == desk.marks


def test_another_graph_cannot_undo_it(failed: Any, sidecar: Sidecar, line: Any, desk: Desk) -> None:
    """Its tools may have the same names and be others."""
    bank = under_saga(line(compiled={"name": "bank"}, a=acts(desk.tool("a"))), sidecar)
    with pytest.raises(ConfigurationError, match="ran in the graph 'shop', not in 'bank'"):
        compensate(bank, "t", reason="given up")

    assert ["a 7"] == desk.marks


def test_an_ungoverned_graph_cannot_undo_anything(line: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"a table \[saga\]"):
        compensate(line(a=fails), "t", reason="given up")


def test_what_somebody_else_is_at_work_on_is_waited_for(
    failed: Any, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An effect that another process has just begun may end at any time."""
    monkeypatch.setattr(compensation, "PATIENCE", 0.0)
    sidecar.effects.begin(Intent("t/shop/b", "t", "b", "d", "{}", "x-1", step=Step("shop", "b")))
    with pytest.raises(UndoHeld, match="still at work on b"):
        compensate(failed, "t", reason="given up")


def test_an_outcome_that_comes_too_late_counts_nothing(failed: Any, sidecar: Sidecar, desk: Desk) -> None:
    """A process stood still for longer than its lease, and the effect was taken to be undone meanwhile."""
    late = Intent("t/shop/a2", "t", "a", "d", '{"order": "8"}', "x-1", step=Step("shop", "b"))
    sidecar.effects.begin(late)
    sidecar.effects.let_go(late.key, late.execution)
    time.sleep(0.4)
    (waits,) = compensate(failed, "t", reason="given up").parked

    assert not sidecar.effects.finish(late.key, late.execution, "a 8", late.step)
    assert ("it began and nobody saw how it ended", None) == (waits.why, waits.outcome)
    assert ["a 7", "undo a 7"] == desk.marks
