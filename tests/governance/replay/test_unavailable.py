"""Sessions whose dependencies failed: what was tried again, left alone or given up then is so in the replay."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.types import RetryPolicy

from governance import Policy, SideEffect, declares, govern
from governance.errors import Unavailable
from governance.plane.dependencies import Dependencies
from governance.policy import LedgerPolicy
from governance.policy_failures import BreakerPolicy, RetriesPolicy, TimeoutPolicy

RULES = Policy(ledger=LedgerPolicy(payloads="all"), retries=RetriesPolicy(attempts=3, wait=0.001))
OFTEN = {"retry_policy": RetryPolicy(max_attempts=9, initial_interval=0, jitter=False)}


@pytest.fixture
def rules(stage: Any) -> Any:
    """Has the stage govern by other rules than its own; each side knows nothing of what the other has seen."""

    def set_rules(policy: Policy) -> None:
        def by(graph: Any, sidecar: Any) -> Any:
            sidecar.dependencies = Dependencies()
            return govern(graph, contracts=stage.contracts, policy=policy, sidecar=sidecar)

        stage.govern = by

    return set_rules


def failing(times: int, effect: SideEffect | None = None) -> Any:
    left = [times]

    @tool
    def look(word: str) -> str:
        """Looks."""
        if left[0]:
            left[0] -= 1
            raise ConnectionError("weather")
        return "found"

    return look if effect is None else declares(effect)(look)


def test_what_was_mended_inside_a_call_is_one_answer(stage: Any, rules: Any, one: Any) -> None:
    rules(RULES)
    look = failing(2, SideEffect("read"))
    graph = one(lambda state: {"out": look.invoke({"word": "a"})})

    assert stage.seen(graph, stage.record(graph, {"out": ""})) is None


def test_what_was_left_alone_is_left_alone_again(stage: Any, rules: Any, one: Any) -> None:
    """Another session had opened the circuit; the breaker of the replay has seen nothing."""
    rules(replace(RULES, retries=None, breaker=BreakerPolicy(minimum=2)))
    look = failing(2, SideEffect("read"))

    def node(state: Any) -> Any:
        said: list[str] = []
        for word in "abcd":
            try:
                said.append(look.invoke({"word": word}))
            except (ConnectionError, Unavailable) as error:
                said.append(f"{type(error).__name__}: {error}")
        return {"log": said}

    graph = one(node)
    governed = stage.recorded(graph)
    for session in ("another", "t"):
        found = governed.invoke({"out": ""}, {"configurable": {"thread_id": session}})

    assert all(line.startswith("CircuitOpen: tool:look is left alone") for line in found["log"])
    assert stage.seen(graph, stage.recording()) is None


def asking_three_times(look: Any) -> Any:
    """A node that goes on whatever it is told, and says what that was."""

    def node(state: Any) -> Any:
        said = []
        for _ in range(3):
            try:
                look.invoke({"word": "a"})
            except (ConnectionError, Unavailable) as error:
                said.append(f"{type(error).__name__}: {error}")
        return {"log": said}

    return node


def test_what_this_request_had_tried_often_enough_is_given_up_again(stage: Any, rules: Any, one: Any) -> None:
    rules(RULES)
    look = failing(99, SideEffect("read"))

    graph = one(asking_three_times(look))

    assert stage.seen(graph, stage.record(graph, {"out": ""})) is None


def test_what_others_had_left_no_budget_for_is_given_up_again(stage: Any, rules: Any, one: Any) -> None:
    """The budget of the replay is full."""
    rules(replace(RULES, retries=RetriesPolicy(attempts=3, ratio=0.01, burst=1, wait=0.001)))
    look = failing(99, SideEffect("read"))

    graph = one(asking_three_times(look))
    governed = stage.recorded(graph)
    for session in ("another", "t"):
        governed.invoke({"out": ""}, {"configurable": {"thread_id": session}})

    assert stage.seen(graph, stage.recording()) is None


@pytest.mark.parametrize("burst", [1, 10])
def test_a_node_runs_again_as_often_as_it_did(burst: int, stage: Any, rules: Any, one: Any) -> None:
    """Two failures of an undeclared tool; with a burst of 1 the second was final."""
    rules(replace(RULES, retries=RetriesPolicy(attempts=9, ratio=0.01, burst=burst, wait=0.001)))
    look = failing(2)
    graph = one(lambda state: {"out": look.invoke({"word": "a"})}, options=OFTEN)
    governed = stage.recorded(graph)
    try:
        governed.invoke({"out": ""}, {"configurable": {"thread_id": "t"}})
    except ConnectionError:
        assert burst == 1

    assert stage.seen(graph, stage.recording()) is None


def test_a_node_that_others_had_left_no_budget_for_does_not_run_again(stage: Any, rules: Any, one: Any) -> None:
    rules(replace(RULES, retries=RetriesPolicy(attempts=3, ratio=0.01, burst=1, wait=0.001)))
    look = failing(99)
    graph = one(lambda state: {"out": look.invoke({"word": "a"})}, options=OFTEN)
    governed = stage.recorded(graph)
    for session in ("another", "t"):
        with pytest.raises(ConnectionError):
            governed.invoke({"out": ""}, {"configurable": {"thread_id": session}})

    assert stage.seen(graph, stage.recording()) is None


def test_a_node_is_run_again_for_what_failed_in_it_then(stage: Any, rules: Any, one: Any) -> None:
    """Tools that do not run now had tries of their own; the node alone would have failed too often."""
    rules(RULES)
    first, second = failing(1), failing(2)

    def node(state: Any) -> Any:
        return {"out": first.invoke({"word": "a"}) + second.invoke({"word": "b"})}

    graph = one(node, options=OFTEN)
    recording = stage.record(graph, {"out": ""})
    assert 4 == sum(row.kind == "node.begun" for row in recording.rows)

    assert stage.seen(graph, recording) is None


def test_what_was_too_slow_is_too_slow_again(stage: Any, rules: Any, one: Any) -> None:
    """Its time is not waited for; the node goes the same way."""
    rules(replace(RULES, retries=None, timeout=TimeoutPolicy(seconds=0.05)))
    free = threading.Event()

    @tool
    def look(word: str) -> str:
        """Looks."""
        free.wait(20)
        return "found"

    def node(state: Any) -> Any:
        try:
            return {"out": look.invoke({"word": "a"})}
        except TimeoutError as error:
            return {"out": f"without: {error}"}

    graph = one(node)
    recording = stage.record(graph, {"out": ""})
    free.set()

    assert stage.seen(graph, recording) is None
