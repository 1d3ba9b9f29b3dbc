"""Places of effects and approvals: only the same call made again is the same place, and one run at a time works there."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import EffectInDoubt, Halted
from governance.filters import effect
from tests.attacks.answers import ALICE, CONFIG, asked, paying
from tests.fixtures import State

MAY = {"n": Contract(tools=["refund"])}
PATIENT = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False)


def refunding(till: Any) -> Any:
    return lambda state: {"out": till.refund.invoke({"amount": 5})}


def test_two_graphs_of_one_thread_do_not_take_each_others_effects(sidecar: Sidecar, till: Any, one: Any) -> None:
    for name in ("orders", "bills"):
        graph = one(refunding(till), name=name, checkpointer=InMemorySaver())
        govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""}, CONFIG)

    assert [5, 5] == till.ran("refund")


def test_a_restarted_graph_finds_its_effects_by_its_name(sidecar: Sidecar, till: Any, one: Any) -> None:
    saver, deaths = InMemorySaver(), iter([ConnectionError("the node dies"), None])

    def node(state: Any) -> Any:
        till.refund.invoke({"amount": 5})
        death = next(deaths)
        if death is not None:
            raise death

    for given in ({"out": ""}, None):
        graph = govern(one(node, name="orders", checkpointer=saver), contracts=MAY, sidecar=sidecar)
        try:
            graph.copy(update={"name": "served"}).invoke(given, CONFIG)
        except ConnectionError:
            continue

    assert [5] == till.ran("refund")


def test_an_approval_in_one_graph_is_none_in_another(sidecar: Sidecar, till: Any, one: Any) -> None:
    graphs = [
        one(lambda s: {"out": till.pay.invoke({"amount": 5})}, name=n, checkpointer=InMemorySaver()) for n in "ab"
    ]
    for graph in graphs:
        govern(graph, contracts={"n": paying()}, sidecar=sidecar)
    card = asked(graphs[0])
    sidecar.approvals.decide(card, "approve", by=ALICE)

    assert card != asked(graphs[1])
    graphs[0].invoke(None, CONFIG)
    assert [5] == till.ran("pay")


def test_a_run_without_checkpoints_is_no_repeat_of_the_last_one_of_its_thread(
    sidecar: Sidecar, till: Any, one: Any
) -> None:
    graph = govern(one(refunding(till)), contracts=MAY, sidecar=sidecar)
    for _ in range(2):
        graph.invoke({"out": ""}, CONFIG)

    assert [5, 5] == till.ran("refund")


def test_a_retry_without_checkpoints_is_a_repeat(sidecar: Sidecar, till: Any, one: Any) -> None:
    deaths = iter([ConnectionError("the node dies"), None])

    def node(state: Any) -> Any:
        till.refund.invoke({"amount": 5})
        death = next(deaths)
        if death is not None:
            raise death

    govern(one(node, options={"retry_policy": PATIENT}), contracts=MAY, sidecar=sidecar).invoke({"out": ""}, CONFIG)

    assert [5] == till.ran("refund")


def test_an_approval_is_spent_by_one_run_without_checkpoints(sidecar: Sidecar, till: Any, one: Any) -> None:
    """Nothing resumes such a run; a yes to it is no yes to the next one."""
    graph = govern(one(lambda s: {"out": till.pay.invoke({"amount": 5})}), contracts={"n": paying()}, sidecar=sidecar)
    for _ in range(3):
        for card in sidecar.approvals.cards():
            sidecar.approvals.decide(card.id, "approve", by=ALICE)
        try:
            graph.invoke({"out": ""}, CONFIG)
        except RuntimeError:
            continue

    assert [] == till.ran("pay")


def test_a_governed_graph_in_two_nodes_of_a_graph_that_nobody_governs_acts_in_both(
    sidecar: Sidecar, till: Any, one: Any
) -> None:
    inner = govern(one(refunding(till)), contracts=MAY, sidecar=sidecar, doors="open")
    builder = StateGraph(State).add_node("a", inner).add_node("b", inner).add_edge(START, "a").add_edge("a", "b")
    builder.compile(checkpointer=InMemorySaver()).invoke({"out": ""}, CONFIG)

    assert [5, 5] == till.ran("refund")


class Slow:
    """A tool that is at work until it may end; what it paid, and whether it is at work now."""

    def __init__(self, found: Any = None) -> None:
        self.paid: list[int] = []
        self.began, self.may_end = threading.Event(), threading.Event()

        @declares(SideEffect("write", reconcile=lambda args: found))
        @tool
        def refund(amount: int) -> str:
            """Refund."""
            self.began.set()
            self.may_end.wait(10)
            self.paid.append(amount)
            return "paid"

        self.refund: BaseTool = refund


@pytest.fixture
def at_work(sidecar: Sidecar, one: Any) -> Any:
    """A graph whose effect is under way in a run of its own."""
    slow = Slow()
    graph = one(refunding(slow), checkpointer=InMemorySaver(), interrupt_before=["n"])
    govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""}, CONFIG)
    first = threading.Thread(target=lambda: graph.invoke(None, CONFIG))
    first.start()
    slow.began.wait(10)
    yield graph, slow
    slow.may_end.set()
    first.join()


def test_two_resumes_at_once_make_one_effect(at_work: Any) -> None:
    graph, slow = at_work
    threading.Timer(0.3, slow.may_end.set).start()

    assert "paid" == graph.invoke(None, CONFIG)["out"]
    assert [5] == slow.paid


def test_who_waits_in_vain_for_somebody_elses_effect_is_refused(at_work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, slow = at_work
    monkeypatch.setattr(effect, "PATIENCE", 0.2)

    with pytest.raises(EffectInDoubt, match="another run is at work on this very call of refund"):
        graph.invoke(None, CONFIG)

    assert [] == slow.paid


def test_a_stop_reaches_who_waits_for_somebody_elses_effect(at_work: Any, sidecar: Sidecar) -> None:
    graph, slow = at_work
    threading.Timer(0.2, lambda: sidecar.control.stop("tool", "refund", reason="enough", by="alice")).start()

    with pytest.raises(Halted):
        graph.invoke(None, CONFIG)

    assert [] == slow.paid


def test_another_process_does_not_judge_an_effect_that_is_under_way(sidecar: Sidecar, one: Any) -> None:
    """It reads from the control file alone that somebody is at work."""
    slow, saver, other = Slow(), InMemorySaver(), Sidecar(ledger=sidecar.ledger.path)
    graphs = [one(refunding(slow), checkpointer=saver, interrupt_before=["n"]) for _ in range(2)]
    for graph, owner in zip(graphs, (sidecar, other), strict=True):
        govern(graph, contracts=MAY, sidecar=owner)
    graphs[0].invoke({"out": ""}, CONFIG)
    first = threading.Thread(target=lambda: graphs[0].invoke(None, CONFIG))
    first.start()
    slow.began.wait(10)
    second = threading.Thread(target=lambda: graphs[1].invoke(None, CONFIG))
    second.start()
    time.sleep(0.3)
    slow.may_end.set()
    first.join()
    second.join()
    other.close()

    assert [5] == slow.paid
