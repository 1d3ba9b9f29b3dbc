"""Sessions in which something failed for good, and others went on without it, are the same again."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph

from governance import Cached, Contract, Plain, SideEffect, declares, isolated
from governance.policy_failures import RetriesPolicy
from governance.testing.models import ScriptedChatModel
from tests.fixtures import State
from tests.governance.replay.conftest import Stage

AWAY = ConnectionError("nobody there")


def boom(state: Any) -> Any:
    raise ValueError("boom")


def beside(bad: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("bad", bad).add_node("good", lambda state: {"amount": 1})
    builder.add_node(
        "join", lambda state: {"items": [repr((one.kind, one.message, one.effects)) for one in isolated()]}
    )
    builder.add_edge(START, "bad").add_edge(START, "good").add_edge(["bad", "good"], "join")
    return builder.compile()


def tools_of(answers: bool) -> Any:
    @declares(SideEffect("write"))
    @tool
    def pay(amount: int) -> str:
        """Pays, or nobody knows."""
        if not answers:
            raise AWAY
        return "paid"

    return pay


@pytest.mark.parametrize("answers", [True, False])
def test_an_isolated_failure_comes_again_with_its_effects(answers: bool, stage: Stage) -> None:
    def graph() -> Any:
        pay = tools_of(answers)

        def bad(state: Any) -> Any:
            with suppress(ConnectionError):
                pay.invoke({"amount": 5})
            raise ValueError("boom")

        return beside(bad)

    stage.contracts = {
        "bad": Contract(tools=["pay"], on_failure="isolate"), "join": Contract(reads_failures=True), "*": Contract(),
    }  # fmt: skip

    assert None is stage.seen(graph(), stage.record(graph(), {"out": ""}))


def test_a_deadline_comes_again(stage: Stage) -> None:
    opened = threading.Event()
    stage.contracts = {
        "bad": Contract(timeout=0.3, on_failure="isolate"), "join": Contract(reads_failures=True), "*": Contract(),
    }  # fmt: skip
    recording = stage.record(beside(lambda state: opened.wait(60) and None), {"out": ""})
    found = stage.seen(beside(lambda state: opened.wait(60) and None), recording)
    opened.set()

    assert None is found


def test_a_failure_that_does_not_come_again_is_named(stage: Stage) -> None:
    stage.contracts = {
        "bad": Contract(on_failure="isolate"), "join": Contract(reads_failures=True), "*": Contract(),
    }  # fmt: skip

    assert ("bad#1", "outcome") == stage.seen(beside(lambda state: {}), stage.record(beside(boom), {"out": ""}))


@pytest.mark.parametrize("fallback", [lambda state: {"out": "instead"}, {"out": "sorry"}])
def test_what_stood_in_for_a_node_does_so_again(fallback: Any, stage: Stage, line: Any) -> None:
    stage.contracts = {"*": Contract(fallback=fallback)}

    assert None is stage.seen(line(n=boom), stage.record(line(n=boom), {"out": ""}))


def test_what_was_too_dear_then_is_not_done_now(stage: Stage, line: Any) -> None:
    """The retry budget had been spent by other sessions, of which a replay knows nothing."""
    stage.contracts = {"*": Contract(fallback=lambda state: {"out": "instead"})}
    stage.policy = {"retries": RetriesPolicy(attempts=1, ratio=0.01, burst=1)}
    graph = stage.recorded(line(n=boom))
    graph.invoke({"out": ""}, {"configurable": {"thread_id": "before"}})
    with pytest.raises(ValueError, match="boom"):
        graph.invoke({"out": ""}, {"configurable": {"thread_id": "t"}})

    assert None is stage.seen(line(n=boom), stage.recording())


STAGES: dict[str, Any] = {
    "another model": lambda: ScriptedChatModel(["second"] * 9, model_name="second"),
    "its last answer": lambda: Cached(60),
    "a plain refusal": lambda: Plain("not now"),
}


@pytest.mark.parametrize("how", ["invoke", "stream"])
@pytest.mark.parametrize("what", list(STAGES))
def test_what_stood_in_for_a_model_answers_again(what: str, how: str, stage: Stage, line: Any) -> None:
    def graph(script: list[Any]) -> Any:
        model = ScriptedChatModel(script, model_name="first")

        def node(state: Any) -> Any:
            if how == "invoke":
                return {"out": str(model.invoke("hello").content)}
            return {"out": "".join(str(piece.content) for piece in model.stream("hello"))}

        return line(n=node)

    stage.contracts = {"*": Contract(fallbacks={"first": STAGES[what]()})}
    recording = stage.record(graph(["hi", AWAY]), {"out": ""}, {"out": ""})

    assert None is stage.seen(graph([]), recording)


def test_what_stood_in_for_a_tool_answers_again(stage: Stage, line: Any) -> None:
    def graph(error: Exception) -> Any:
        @tool
        def look(what: str) -> str:
            """Looks."""
            raise error

        return line(n=lambda state: {"out": look.invoke({"what": "a"})})

    stage.contracts = {"*": Contract(tools=["look"], fallbacks={"look": Plain("closed")})}

    assert None is stage.seen(graph(KeyError()), stage.record(graph(AWAY), {"out": ""}))
