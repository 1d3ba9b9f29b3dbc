"""A session that fails leaves nothing in force that can be taken back: the newest first, each of it once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt

from governance import Policy, Sidecar, SideEffect, compensate, effect
from governance.errors import (
    ApprovalDenied,
    AuthorityRefused,
    CircuitOpen,
    ConfigurationError,
    Halted,
    LedgerError,
    Refusal,
    SessionUndone,
    UndoHeld,
)
from governance.plane.undo_list import settle
from governance.policy_saga import SagaPolicy
from tests.attacks.answers import CONFIG
from tests.attacks.undoing import SAGA, Desk, Refused, acts, fails, under_saga
from tests.fixtures import State, calling


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def saga(sidecar: Sidecar, line: Any) -> Any:
    """Governs nodes in a row, with checkpoints."""
    sidecar.effects.lease = 0.3

    def build(policy: Policy = SAGA, **nodes: Any) -> Any:
        return under_saga(line(compiled={"checkpointer": InMemorySaver()}, **nodes), sidecar, policy)

    return build


def run(graph: Any, given: Any, mode: str = "sync") -> Any:
    return graph.invoke(given, CONFIG) if mode == "sync" else asyncio.run(graph.ainvoke(given, CONFIG))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_session_that_fails_is_undone_the_newest_first(mode: str, saga: Any, desk: Desk) -> None:
    graph = saga(a=acts(desk.tool("a")), b=acts(desk.tool("b")), c=acts(desk.tool("c")), end=fails)
    with pytest.raises(Refused) as failed:
        run(graph, {"out": ""}, mode)

    assert ["a", "b", "c", "undo c", "undo b", "undo a"] == desk.marks
    assert "3 of 3 effects undone" in failed.value.__notes__[-1]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_nested_graphs_and_branches_did_is_undone_too(mode: str, sidecar: Sidecar, line: Any, desk: Desk) -> None:
    inner = line(deep=acts(desk.tool("deep")))
    builder = StateGraph(State)
    builder.add_node("inner", inner)
    builder.add_node("branch", lambda state: {"log": [desk_tool.invoke({"order": state["out"]})]})
    builder.add_node("end", fails)
    builder.add_edge(START, "inner")
    builder.add_conditional_edges("inner", lambda s: [Send("branch", {"out": str(n)}) for n in range(3)], ["branch"])
    builder.add_edge("branch", "end")
    desk_tool = desk.tool("branch")
    graph = under_saga(builder.compile(checkpointer=InMemorySaver()), sidecar)
    with pytest.raises(Refused):
        run(graph, {"out": ""}, mode)

    done, undone = desk.marks[:4], desk.marks[4:]
    assert sorted(f"undo {one}" for one in done) == sorted(undone)
    assert "undo deep" == undone[-1]


def test_the_order_is_that_in_which_effects_ended(saga: Any, desk: Desk) -> None:
    """A tool that uses another one ends after it, so it is undone before it."""
    inner = desk.tool("inner")
    outer = desk.tool("outer", then=lambda: inner.invoke({}))
    with pytest.raises(Refused):
        saga(a=acts(outer), end=fails).invoke({"out": ""}, CONFIG)

    assert ["outer", "inner", "undo outer", "undo inner"] == desk.marks


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_effect_of_a_branch_that_was_under_way_when_another_failed_is_undone(
    mode: str, sidecar: Sidecar, desk: Desk
) -> None:
    sidecar.effects.lease = 0.3
    slow = desk.tool(
        "slow", then=lambda: time.sleep(0.2), reconcile=lambda args: "slow" if "slow" in desk.marks else None
    )

    def hasty(state: Any) -> Any:
        while "slow" not in desk.marks:
            time.sleep(0.01)
        fails()

    async def aslow(state: Any) -> Any:
        return {"log": [await slow.ainvoke({})]}

    builder = StateGraph(State)
    builder.add_node("slow", aslow if mode == "async" else lambda state: {"log": [slow.invoke({})]})
    builder.add_node("hasty", hasty)
    builder.add_edge(START, "slow")
    builder.add_edge(START, "hasty")
    with pytest.raises(Refused):
        run(under_saga(builder.compile(checkpointer=InMemorySaver()), sidecar), {"out": ""}, mode)

    assert ["slow", "undo slow"] == desk.marks


def test_a_block_of_code_is_undone_like_a_tool(saga: Any, desk: Desk) -> None:
    does = SideEffect("write", undo=lambda args, outcome: desk.mark(f"undo {args['to']} {outcome}"))

    def node(state: Any) -> Any:
        with effect("mail", {"to": "ann"}, does=does) as mail:
            if mail.fresh:
                mail.outcome = 7
        fails()

    with pytest.raises(Refused):
        saga(n=node).invoke({"out": ""}, CONFIG)

    assert ["undo ann 7"] == desk.marks


def test_an_undo_is_given_what_the_tool_returned_whoever_called_it(saga: Any, desk: Desk) -> None:
    """A `ToolNode` makes a message of it, under an id that says nothing to an undo."""
    given: list[Any] = []
    tool = desk.tool("pay", undo=lambda args, outcome: given.append((args, outcome)))
    ask = lambda state: {"messages": [calling(("pay", {"order": "7"}))]}
    with pytest.raises(Refused):
        saga(ask=ask, tools=ToolNode([tool], handle_tool_errors=False), end=fails).invoke({"messages": []}, CONFIG)

    assert [({"order": "7"}, "pay 7")] == given


def test_what_cannot_be_undone_waits_for_a_person_and_the_rest_is_undone(saga: Any, desk: Desk) -> None:
    def breaks(args: Any, outcome: Any) -> None:
        raise ConnectionError("the bank is away")

    async def later(args: Any, outcome: Any) -> None:
        desk.mark("never")

    nodes = {
        "a": acts(desk.tool("a")),
        "b": acts(desk.tool("mail", undo=None)),
        "c": acts(desk.tool("breaks", undo=breaks)),
        "d": acts(desk.tool("later", undo=later)),
        "e": acts(desk.tool("e")),
    }
    graph = saga(**nodes, end=fails)
    with pytest.raises(Refused):
        graph.invoke({"out": ""}, CONFIG)
    found = compensate(graph, "t", reason="look")

    assert ["undo e", "undo a"] == desk.marks[5:]
    assert "parked" == found.state
    assert [("later", True), ("breaks", True), ("mail", True)] == [
        (one.tool, word in one.why)
        for one, word in zip(found.parked, ("is async", "ConnectionError: the bank is away", "no undo"), strict=True)
    ]


def test_a_session_goes_on_for_good_once_a_person_has_settled_the_rest(saga: Any, desk: Desk, sidecar: Sidecar) -> None:
    away = [True]

    def breaks(args: Any, outcome: Any) -> None:
        if away[0]:
            raise ConnectionError("the bank is away")
        desk.mark("undo breaks")

    graph = saga(a=acts(desk.tool("breaks", undo=breaks)), b=acts(desk.tool("mail", undo=None)), end=fails)
    with pytest.raises(Refused):
        graph.invoke({"out": ""}, CONFIG)
    mail, broken = compensate(graph, "t", reason="look").parked
    with pytest.raises(SessionUndone, match="what a person has to settle"):
        graph.invoke({"out": ""}, CONFIG)
    away[0] = False
    states = [
        settle(sidecar.control, mail.id, "stands", reason="she has read it"),
        settle(sidecar.control, broken.id, "again", reason="it is back"),
        compensate(graph, "t", reason="it is back").state,
    ]

    assert ["parked", "undoing", "undone"] == states
    assert ["breaks", "mail", "undo breaks"] == desk.marks


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_a_finished_run_did_is_done_whatever_fails_later_in_its_thread(mode: str, saga: Any, desk: Desk) -> None:
    tool = desk.tool("pay")
    graph = saga(
        a=lambda s: {"other": tool.invoke({"order": s["out"]})}, end=lambda s: fails() if s["out"] == "2" else None
    )
    run(graph, {"out": "1"}, mode)
    with pytest.raises(Refused):
        run(graph, {"out": "2"}, mode)

    assert ["pay 1", "pay 2", "undo pay 2"] == desk.marks


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_question_is_no_failure_and_an_answer_that_fails_undoes_what_came_before_it(
    mode: str, saga: Any, desk: Desk
) -> None:
    graph = saga(a=acts(desk.tool("a")), ask=lambda s: {"out": interrupt("well?")}, end=fails)
    run(graph, {"out": ""}, mode)
    asked = list(desk.marks)
    with pytest.raises(Refused):
        run(graph, Command(resume="yes"), mode)

    assert (["a"], ["a", "undo a"]) == (asked, desk.marks)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_session_that_was_undone_begins_anew_and_cannot_go_on(mode: str, saga: Any, desk: Desk) -> None:
    """Going on would end with half of it: what came before the failure is not in force any more."""
    fate = [True]
    graph = saga(a=acts(desk.tool("a")), end=lambda s: fails() if fate[0] else None)
    with pytest.raises(Refused):
        run(graph, {"out": ""}, mode)
    fate[0] = False
    for given in (None, Command(resume="yes")):
        with pytest.raises(SessionUndone, match="give it a new input"):
            run(graph, given, mode)
    run(graph, {"out": ""}, mode)

    assert ["a", "undo a", "a"] == desk.marks


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_session_that_is_being_undone_begins_no_new_effect(
    mode: str, saga: Any, desk: Desk, sidecar: Sidecar
) -> None:
    """An operator undoes it while it runs; what it then swallows does not help it."""

    def given_up(state: Any) -> None:
        sidecar.sagas.begin("t", "LangGraph", "asked", "enough", "ann")

    def stubborn(state: Any) -> Any:
        try:
            b.invoke({})
        except Refusal:
            return {"out": "went on"}

    b = desk.tool("b")
    graph = saga(a=acts(desk.tool("a")), between=given_up, c=stubborn)
    with pytest.raises(SessionUndone):
        run(graph, {"out": ""}, mode)
    with pytest.raises(SessionUndone):  # the next run finishes that first
        run(graph, None, mode)

    assert ["a", "undo a"] == desk.marks


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_run_that_was_given_up_while_it_came_to_its_end_does_not_say_that_it_is_done(
    mode: str, saga: Any, desk: Desk, sidecar: Sidecar
) -> None:
    def given_up(state: Any) -> None:
        sidecar.sagas.begin("t", "LangGraph", "asked", "enough", "ann")

    graph = saga(a=acts(desk.tool("a")), end=given_up)
    with pytest.raises(SessionUndone):
        run(graph, {"out": ""}, mode)
    compensate(graph, "t", reason="enough")

    assert ["a", "undo a"] == desk.marks


def test_many_who_undo_one_session_at_once_undo_it_once(saga: Any, desk: Desk) -> None:
    nodes = {name: acts(desk.tool(name, undo=lambda args, said: (time.sleep(0.02), desk.mark(said)))) for name in "abc"}
    graph = saga(Policy(saga=SagaPolicy(on=())), **nodes, end=fails)
    with pytest.raises(Refused):
        graph.invoke({"out": ""}, CONFIG)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = [pool.submit(compensate, graph, "t", reason="enough") for _ in range(8)]

    assert {"undone"} == {one.result().state for one in found}
    assert ["a", "b", "c", "c", "b", "a"] == desk.marks


@pytest.mark.parametrize("error", [CircuitOpen("later"), concurrent.futures.CancelledError()])
def test_an_error_after_which_a_session_is_run_on_undoes_nothing(error: Exception, saga: Any, desk: Desk) -> None:
    def away(state: Any) -> Any:
        if errors:
            raise errors.pop()

    errors = [error]
    graph = saga(a=acts(desk.tool("a")), end=away)
    with pytest.raises(type(error)):
        graph.invoke({"out": ""}, CONFIG)
    graph.invoke(None, CONFIG)

    assert ["a"] == desk.marks


@pytest.mark.parametrize(("on", "expected"), [(("denied",), ["a", "undo a"]), (("failed", "stopped"), ["a"])])
def test_a_no_of_a_person_undoes_where_the_policy_says_so(on: Any, expected: Any, saga: Any, desk: Desk) -> None:
    def no(state: Any) -> Any:
        raise ApprovalDenied("ann said no")

    with pytest.raises(ApprovalDenied):
        saga(Policy(saga=SagaPolicy(on=on)), a=acts(desk.tool("a")), end=no).invoke({"out": ""}, CONFIG)

    assert expected == desk.marks


@pytest.mark.parametrize(
    ("scope", "name", "expected"), [("session", "t", ["a", "undo a"]), ("all", "*", ["a"]), ("tool", "b", ["a"])]
)
def test_a_stop_of_the_session_undoes_it_and_any_other_leaves_it_to_be_run_on(
    scope: Any, name: str, expected: Any, saga: Any, desk: Desk, sidecar: Sidecar
) -> None:
    reached, stopped = threading.Event(), threading.Event()

    def operator() -> None:
        reached.wait()
        sidecar.control.stop(scope, name, reason="enough", by="ann")
        stopped.set()

    def waits(state: Any) -> None:
        reached.set()
        stopped.wait()

    threading.Thread(target=operator, daemon=True).start()
    with pytest.raises(Halted):
        saga(a=acts(desk.tool("a")), waits=waits, end=acts(desk.tool("b"))).invoke({"out": ""}, CONFIG)

    assert expected == desk.marks


@pytest.mark.parametrize(("scope", "name"), [("all", "*"), ("tool", "a")])
def test_a_stop_of_everything_or_of_the_tool_holds_an_undo_back_until_it_is_lifted(
    scope: Any, name: str, saga: Any, desk: Desk, sidecar: Sidecar
) -> None:
    graph = saga(Policy(saga=SagaPolicy(on=())), a=acts(desk.tool("a")), end=fails)
    with pytest.raises(Refused):
        graph.invoke({"out": ""}, CONFIG)
    sidecar.control.stop(scope, name, reason="an incident", by="ann")
    with pytest.raises(UndoHeld, match="an incident"):
        compensate(graph, "t", reason="enough")
    held = list(desk.marks)
    sidecar.control.resume(scope, name)
    compensate(graph, "t", reason="enough")

    assert (["a"], ["a", "undo a"]) == (held, desk.marks)


def test_code_of_a_node_undoes_and_settles_nothing(saga: Any, desk: Desk, sidecar: Sidecar) -> None:
    tried: list[type[Exception]] = []

    def node(state: Any) -> Any:
        for work in (
            lambda: compensate(graph, "t", reason="x"),
            lambda: settle(sidecar.control, "", "again", reason="x"),
        ):
            try:
                work()
            except Exception as error:
                tried.append(type(error))

    graph = saga(a=acts(desk.tool("a")), n=node)
    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""}, CONFIG)

    assert [AuthorityRefused, AuthorityRefused] == tried


def test_a_session_that_did_nothing_has_nothing_to_undo_and_goes_on(saga: Any, desk: Desk) -> None:
    fate = [True]
    graph = saga(n=lambda s: fails() if fate[0] else None, a=acts(desk.tool("a")))
    with pytest.raises(Refused):
        graph.invoke({"out": ""}, CONFIG)
    with pytest.raises(ConfigurationError, match="nothing to undo"):
        compensate(graph, "t", reason="x")
    fate[0] = False
    graph.invoke(None, CONFIG)

    assert ["a"] == desk.marks


def test_without_a_saga_in_the_policy_nothing_is_written_and_nothing_undone(
    saga: Any, desk: Desk, sidecar: Sidecar
) -> None:
    graph = saga(Policy(), a=acts(desk.tool("a")), end=fails)
    with pytest.raises(Refused):
        graph.invoke({"out": ""}, CONFIG)
    with pytest.raises(ConfigurationError, match=r"\[saga\]"):
        compensate(graph, "t", reason="x")

    assert ["a"] == desk.marks
    assert [] == sidecar.control.rows("SELECT * FROM steps")


def test_what_was_erased_is_not_undone_by_guess(saga: Any, desk: Desk, sidecar: Sidecar) -> None:
    from governance.plane.erasure import erase

    graph = saga(Policy(saga=SagaPolicy(on=())), a=acts(desk.tool("a")), end=fails)
    with pytest.raises(Refused):
        graph.invoke({"out": ""}, CONFIG)
    erase(sidecar.control, ["t"])
    (waits,) = compensate(graph, "t", reason="x").parked

    assert (["a"], True) == (desk.marks, "erased" in waits.why)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_governed_graph_inside_an_ungoverned_one_is_a_saga_of_its_own(
    mode: str, sidecar: Sidecar, line: Any, desk: Desk
) -> None:
    # Its checkpoint is named by the graph around it, which nobody can tell from a rewind.
    inner = under_saga(line(a=acts(desk.tool("a")), end=fails), sidecar, doors="open")
    outer = line(inner=inner)
    with pytest.raises(Refused):
        run(outer, {"out": ""}, mode)

    assert ["a", "undo a"] == desk.marks


def test_a_graph_without_a_thread_is_undone_too(sidecar: Sidecar, line: Any, desk: Desk) -> None:
    with pytest.raises(Refused):
        under_saga(line(a=acts(desk.tool("a")), end=fails), sidecar).invoke({"out": ""})

    assert ["a", "undo a"] == desk.marks


def test_a_reader_who_goes_away_undoes_nothing(saga: Any, desk: Desk) -> None:
    graph = saga(a=acts(desk.tool("a")), b=acts(desk.tool("b")))
    stream = graph.stream({"out": ""}, CONFIG, stream_mode="updates")
    next(stream)
    stream.close()
    graph.invoke(None, CONFIG)

    assert ["a", "b"] == desk.marks


def test_what_cannot_be_put_on_record_is_not_undone_and_is_gone_on_with_later(
    saga: Any, desk: Desk, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise LedgerError("no room on the disk")

    def end(state: Any) -> Any:
        monkeypatch.setattr(sidecar.ledger, "flush", broken)
        fails()

    graph = saga(a=acts(desk.tool("a")), end=end)
    with pytest.raises(Refused) as failed:
        graph.invoke({"out": ""}, CONFIG)
    without = list(desk.marks)
    monkeypatch.undo()
    compensate(graph, "t", reason="there is room again")

    assert "no room on the disk" in failed.value.__notes__[-1]
    assert (["a"], ["a", "undo a"]) == (without, desk.marks)


def test_each_step_is_on_record_before_it_happens_and_after(saga: Any, desk: Desk, rows: Any) -> None:
    kinds: list[Any] = []
    graph = saga(a=acts(desk.tool("a", undo=lambda *_: kinds.append([r.kind for r in rows("saga")]))), end=fails)
    with pytest.raises(Refused):
        graph.invoke({"out": ""}, CONFIG)

    assert [["saga.began", "saga.undoing"]] == kinds
    assert ["saga.began", "saga.undoing", "saga.undone", "saga.ended"] == [row.kind for row in rows("saga")]
