"""What people answered, approved and corrected is given again, at the question it belongs to."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from governance import Approval, Contract, Principal, SideEffect, Tool, Verdict, at_most, declares
from tests.fixtures import State
from tests.governance.replay.conftest import THREAD, Stage


@pytest.fixture
def saved(line: Any) -> Any:
    """Compiles nodes one after the other, with a checkpointer of its own each time."""
    return lambda **nodes: line(compiled={"checkpointer": InMemorySaver()}, **nodes)


def test_answers_are_given_to_the_questions_they_belong_to(stage: Stage, saved: Any) -> None:
    def graph(last: str = "") -> Any:
        return saved(n=lambda state: {"items": [interrupt("first"), interrupt("second")], "out": last})

    recording = stage.record(graph(), {"out": ""}, Command(resume="one"), Command(resume="two"))

    assert None is stage.seen(graph(), recording)
    assert ("n#1", "update") == stage.seen(graph("x"), recording)


def test_another_question_is_found(stage: Stage, saved: Any) -> None:
    def graph(asks: str) -> Any:
        return saved(n=lambda state: {"out": interrupt(asks)})

    assert ("n#1", "question") == stage.seen(graph("b"), stage.record(graph("a"), {"out": ""}, Command(resume="x")))


def test_answers_to_questions_side_by_side_find_them_by_their_ids(stage: Stage) -> None:
    def graph() -> Any:
        builder = StateGraph(State)
        for name in ("a", "b", "c"):
            builder.add_node(name, lambda state, name=name: {"log": [name + interrupt(name)]}).add_edge(START, name)
        return builder.compile(checkpointer=InMemorySaver())

    governed = stage.recorded(graph())
    asked = governed.invoke({"out": ""}, THREAD)["__interrupt__"]
    governed.invoke(Command(resume={one.id: f" said {one.value}" for one in asked[1:]}), THREAD)
    governed.invoke(Command(resume={asked[0].id: " last"}), THREAD)

    assert None is stage.seen(graph(), stage.recording())


def test_a_question_in_a_nested_graph_is_asked_and_answered_there(stage: Stage, line: Any) -> None:
    def graph(then: str = "") -> Any:
        inner = line(a=lambda state: {"log": ["a"]}, b=lambda state: {"out": interrupt("?") + then})
        builder = StateGraph(State).add_node("inner", inner).add_node("calls", lambda state: inner.invoke({}))
        return (
            builder.add_sequence([("end", lambda state: {})])
            .add_edge(START, "inner")
            .add_edge("inner", "calls")
            .add_edge("calls", "end")
            .compile(checkpointer=InMemorySaver())
        )

    recording = stage.record(graph(), {"out": ""}, Command(resume="one"), Command(resume="two"))

    assert None is stage.seen(graph(), recording)
    assert ("inner#1/0:b#2", "update") == stage.seen(graph("x"), recording)


@pytest.mark.parametrize("decision", ["approve", "edit", "deny"])
@pytest.mark.parametrize("resumes", [True, False])
def test_a_decision_about_a_tool_is_made_again(stage: Stage, saved: Any, decision: Any, resumes: bool) -> None:
    @declares(SideEffect("external", dry_run=lambda args: "would"))
    @tool
    def pay(amount: int) -> str:
        """Pays."""
        return f"paid {amount}"

    def graph(use: Any = str) -> Any:
        return saved(n=lambda state: {"out": use(pay.invoke({"amount": 5}))})

    stage.contracts = {"n": Contract(tools=[Tool("pay", approval=Approval("money"), refusals="answer")])}
    governed = stage.recorded(graph())
    card = governed.invoke({"out": ""}, THREAD)["__interrupt__"][0].id
    edited = {"amount": 3} if decision == "edit" else None
    if resumes:
        answer = {"card": card, "decision": decision, "by": "ann", "reason": "so", "edited": edited}
        governed.invoke(Command(resume=answer), THREAD)
    else:
        stage.sidecar.approvals.decide(card, decision, by=Principal("bob", "server"), reason="so", edited=edited)
        governed.invoke(None, THREAD)

    assert None is stage.seen(graph(), stage.recording())
    assert ("n#1", "update") == stage.seen(graph(str.upper), stage.recording())


def test_a_dry_run_is_not_made_again_and_fails_as_it_failed(stage: Stage, saved: Any) -> None:
    tried: list[Any] = []

    def graph() -> Any:
        def dry_run(args: Any) -> str:
            tried.append(args)
            if args["amount"] > 9:
                raise ConnectionError("no such account")
            return f"would pay as number {len(tried)}"

        @declares(SideEffect("external", dry_run=dry_run))
        @tool
        def pay(amount: int) -> str:
            """Pays."""
            return "paid"

        def node(state: Any) -> Any:
            with pytest.raises(ConnectionError):
                pay.invoke({"amount": 10})
            return {"out": pay.invoke({"amount": 5})}

        return saved(n=node)

    stage.contracts = {"n": Contract(tools=[Tool("pay", approval=Approval("money"))])}
    governed = stage.recorded(graph())
    card = governed.invoke({"out": ""}, THREAD)["__interrupt__"][0].id
    stage.sidecar.approvals.decide(card, "approve", by=Principal("bob", "server"))
    governed.invoke(None, THREAD)
    made = len(tried)

    assert None is stage.seen(graph(), stage.recording())
    assert made == len(tried)


def test_a_decision_that_no_row_tells_of_is_found_by_what_came_of_it(stage: Stage, saved: Any) -> None:
    """An edit that the contract refuses, and a decision that a stop kept from being carried out."""

    def graph() -> Any:
        @tool
        def pay(amount: int) -> str:
            """Pays."""
            return f"paid {amount}"

        return saved(n=lambda state: {"out": pay.invoke({"amount": 5})})

    stage.contracts = {
        "n": Contract(tools=[Tool("pay", approval=Approval("money"), where={"amount": at_most(50)}, refusals="raise")])
    }
    governed = stage.recorded(graph())
    card = governed.invoke({"out": ""}, THREAD)["__interrupt__"][0].id
    stage.sidecar.control.stop("tool", "pay", by="ann", reason="broken")
    stage.sidecar.approvals.decide(card, "edit", by=Principal("bob", "server"), edited={"amount": 90})
    for lifts in (False, True):
        if lifts:
            stage.sidecar.control.resume("tool", "pay")
        with pytest.raises(Exception, match="at most|up to 50|broken"):
            governed.invoke(None, THREAD)

    found = stage.replayed(graph(), stage.recording())
    assert (True, 3) == (found.equal, found.runs), str(found)


def test_a_denial_that_ends_the_node_is_made_again(stage: Stage, saved: Any) -> None:
    stage.contracts = {"n": Contract(approval=Approval("goes out"))}

    def graph() -> Any:
        return saved(n=lambda state: {"out": "x"})

    governed = stage.recorded(graph())
    card = governed.invoke({"out": ""}, THREAD)["__interrupt__"][0].id
    stage.sidecar.approvals.decide(card, "deny", by=Principal("bob", "server"), reason="no: never")
    with pytest.raises(Exception, match="never"):
        governed.invoke(None, THREAD)

    assert None is stage.seen(graph(), stage.recording())


def test_a_question_that_expired_expires_again(stage: Stage, saved: Any) -> None:
    def graph() -> Any:
        return saved(n=lambda state: {"out": "x"})

    stage.contracts = {"n": Contract(approval=Approval("goes out", expires=0.05))}
    governed = stage.recorded(graph())
    governed.invoke({"out": ""}, THREAD)
    time.sleep(0.06)
    with pytest.raises(Exception, match="expired"):
        governed.invoke(None, THREAD)
    recording = stage.recording()

    assert None is stage.seen(graph(), recording)


def test_an_update_that_waits_for_a_person_is_shown_as_it_was(stage: Stage, saved: Any) -> None:
    stage.contracts = {"n": Contract(approval=Approval("goes out")), "m": Contract()}

    def graph(says: str) -> Any:
        return saved(n=lambda state: {"out": says}, m=lambda state: {"other": state["out"]})

    governed = stage.recorded(graph("x"))
    card = governed.invoke({"out": ""}, THREAD)["__interrupt__"][0].id
    stage.sidecar.approvals.decide(card, "edit", by=Principal("bob", "server"), reason="so", edited={"out": "y"})
    governed.invoke(None, THREAD)

    assert None is stage.seen(graph("x"), stage.recording())
    assert ("n#1", "question") == stage.seen(graph("z"), stage.recording())


def test_a_gate_sends_the_node_back_as_it_did(stage: Stage, line: Any) -> None:
    def gate(call: Any, update: Any) -> Verdict:
        return Verdict.passed() if len(update["items"]) > 1 else Verdict.revise("too few")

    stage.contracts = {"n": Contract(gates=[gate], attempts=3, feedback="log")}

    def graph(more: str = "") -> Any:
        return line(n=lambda state: {"items": ["x", *state.get("log", ())], "out": more})

    recording = stage.record(graph(), {"out": ""})

    assert 2 == sum(row.kind == "node.begun" for row in recording.rows)
    assert None is stage.seen(graph(), recording)
    assert ("n#1", "update") == stage.seen(graph("x"), recording)


def test_a_tool_that_asks_by_itself_asks_again_without_running(stage: Stage, saved: Any) -> None:
    def graph(*, works: bool = True) -> Any:
        @tool
        def look(what: str) -> str:
            """Asks first."""
            assert works, "a replay called a tool"
            return what + interrupt("may I?") + interrupt("really?")

        return saved(n=lambda state: {"items": [look.invoke({"what": "a"}), interrupt("and?")]})

    recording = stage.record(graph(), {"out": ""}, *(Command(resume=one) for one in "xyz"))

    assert None is stage.seen(graph(works=False), recording)


def test_a_state_that_a_person_corrected_is_corrected_again(stage: Stage, saved: Any) -> None:
    def graph() -> Any:
        return saved(n=lambda state: {"log": [state["out"]]}, m=lambda state: {"log": [state["out"]]})

    governed = stage.recorded(graph())
    governed.invoke({"out": "a"}, THREAD, interrupt_before=["m"])
    from governance import operator

    with operator("ann", reason="it was wrong"):
        governed.update_state(THREAD, {"out": "b"})
    governed.invoke(None, THREAD)

    assert ["a", "b"] == governed.get_state(THREAD).values["log"]
    assert None is stage.seen(graph(), stage.recording())


def test_several_turns_on_one_thread_are_replayed_in_their_order(stage: Stage, saved: Any) -> None:
    def graph(said: str = "") -> Any:
        return saved(n=lambda state: {"log": [str(len(state.get("log", ()))) + said * (len(state.get("log", ())) > 1)]})

    recording = stage.record(graph(), {"out": "a"}, {"out": "b"}, {"out": "c"})

    assert None is stage.seen(graph(), recording)
    assert ("n#7", "update") == stage.seen(graph("!"), recording)


def test_async_graphs_are_replayed_by_async_code(stage: Stage, saved: Any) -> None:
    async def node(state: Any) -> Any:
        await asyncio.sleep(0)
        return {"out": interrupt("?")}

    governed = stage.recorded(saved(n=node))
    asyncio.run(governed.ainvoke({"out": ""}, THREAD))
    asyncio.run(governed.ainvoke(Command(resume="x"), THREAD))

    assert None is stage.seen(saved(n=node), stage.recording())


def test_the_context_and_the_settings_of_a_run_are_given_again(stage: Stage) -> None:
    from langchain_core.runnables import RunnableConfig
    from langgraph.runtime import Runtime

    def node(state: Any, config: RunnableConfig, runtime: Runtime[Any]) -> Any:
        return {"items": [config["configurable"]["who"], runtime.context["where"]]}

    def graph() -> Any:
        return StateGraph(State, context_schema=dict).add_node("n", node).add_edge(START, "n").compile()

    config: Any = {"configurable": {"thread_id": "t", "who": "ann"}}
    stage.recorded(graph()).invoke({"out": ""}, config, context={"where": "here"})

    assert None is stage.seen(graph(), stage.recording())
