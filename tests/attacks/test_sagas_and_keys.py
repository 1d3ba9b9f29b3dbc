"""Undoing beside business keys: what was undone may be done again, and what others stand on is not taken away."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from governance import Policy, Sidecar, compensate
from governance.errors import EffectInDoubt
from governance.filters import effect as effect_filter
from governance.plane.undo_list import settle
from governance.policy_saga import SagaPolicy
from tests.attacks.undoing import Desk, Refused, acts, fails, under_saga


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def refunding(sidecar: Sidecar, line: Any, desk: Desk) -> Any:
    """A graph that refunds the order of its input, then does `then`."""
    sidecar.effects.lease = 0.3

    def build(then: Any = lambda state: None, on: Any = ("failed",), **effect: Any) -> Any:
        tool = desk.tool("refund", key="refund:{order}", **effect)
        graph = line(compiled={"checkpointer": InMemorySaver()}, n=acts(tool, "A7"), end=then)
        return under_saga(graph, sidecar, Policy(saga=SagaPolicy(on=on)))

    return build


def on(session: str) -> Any:
    return {"configurable": {"thread_id": session}}


def test_an_effect_that_was_undone_may_be_made_by_another_session(refunding: Any, desk: Desk) -> None:
    with pytest.raises(Refused):
        refunding(fails).invoke({"out": ""}, on("one"))
    refunding().invoke({"out": ""}, on("two"))

    assert ["refund A7", "undo refund A7", "refund A7"] == desk.marks


def test_a_session_never_undoes_what_another_one_did(refunding: Any, desk: Desk) -> None:
    """It was only answered with what the first one did."""
    refunding().invoke({"out": ""}, on("one"))
    with pytest.raises(Refused):
        refunding(fails).invoke({"out": ""}, on("two"))

    assert ["refund A7"] == desk.marks


def test_what_another_session_was_answered_with_is_for_a_person(refunding: Any, desk: Desk) -> None:
    mine = refunding(fails, on=())
    with pytest.raises(Refused):
        mine.invoke({"out": ""}, on("one"))
    refunding().invoke({"out": ""}, on("two"))
    (waits,) = compensate(mine, "one", reason="given up").parked

    assert (["refund A7"], True) == (desk.marks, "the session two was answered" in waits.why)


def test_a_session_that_comes_while_it_is_being_undone_waits_and_does_it_anew(refunding: Any, desk: Desk) -> None:
    at_it, others = threading.Event(), []

    def undo(args: Any, outcome: Any) -> None:
        other = threading.Thread(target=lambda: (at_it.set(), refunding().invoke({"out": ""}, on("two"))))
        others.append(other)
        other.start()
        at_it.wait()
        desk.mark("undo")

    with pytest.raises(Refused):
        refunding(fails, undo=undo).invoke({"out": ""}, on("one"))
    others[0].join()

    assert ["refund A7", "undo", "refund A7"] == desk.marks


def test_nobody_is_answered_with_what_waits_for_a_person(
    refunding: Any, desk: Desk, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effect_filter, "PATIENCE", 0.0)
    mine = refunding(fails, undo=None)
    with pytest.raises(Refused):
        mine.invoke({"out": ""}, on("one"))
    with pytest.raises(EffectInDoubt, match="takes it back"):
        refunding(undo=None).invoke({"out": ""}, on("two"))
    (waits,) = compensate(mine, "one", reason="look").parked
    settle(sidecar.control, waits.id, "stands", reason="the customer keeps it")
    refunding(undo=None).invoke({"out": ""}, on("three"))

    assert ["refund A7"] == desk.marks


def test_a_thread_that_begins_at_its_beginning_again_does_anew_what_was_undone(
    sidecar: Sidecar, line: Any, desk: Desk
) -> None:
    """Its checkpoints are gone, so its places are the same ones."""
    tool = desk.tool("a", key="a:{order}")
    for _ in range(2):
        graph = line(compiled={"checkpointer": InMemorySaver()}, n=acts(tool, "7"), end=fails)
        with pytest.raises(Refused):
            under_saga(graph, sidecar).invoke({"out": ""}, on("one"))

    assert ["a 7", "undo a 7"] * 2 == desk.marks
