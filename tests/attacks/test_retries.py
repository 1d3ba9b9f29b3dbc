"""Nodes that run again: through LangGraph's loop, with the same structural place, asking nobody twice."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from governance import Contract, Policy, Sidecar, Tool, govern
from governance.errors import GateRefused, Halted, LoopStopped, Refusal
from governance.gates import custom
from governance.plane.control import Control
from governance.policy import LoopPolicy, TenantPolicy

CONFIG: Any = {"configurable": {"thread_id": "t"}}
PATIENT = RetryPolicy(max_attempts=4, initial_interval=0, jitter=False)


def good(call: Any, update: Any) -> str | None:
    return None if "good" in str(update) else "bad"


def test_a_revision_does_not_ask_the_person_again(sidecar: Sidecar, one: Any) -> None:
    """Running the node twice inside the boundary would put the question at another index."""
    answers: list[Any] = []

    def node(state: Any) -> Any:
        answers.append(interrupt("name?"))
        return {"out": "bad" if len(answers) == 1 else "good"}

    graph = govern(
        one(node, checkpointer=InMemorySaver()),
        contracts={"n": Contract(gates=[custom(good)], attempts=3)},
        sidecar=sidecar,
    )
    graph.invoke({"out": ""}, CONFIG)
    result = graph.invoke(Command(resume="bob"), CONFIG)

    assert "good" == result["out"]
    assert ["bob", "bob"] == answers


def test_a_revision_does_not_repeat_what_a_nested_graph_did(sidecar: Sidecar, till: Any, one: Any, line: Any) -> None:
    words = iter(["bad", "good"])
    inner = line(charge=lambda s: {"out": str(till.refund.invoke({"amount": 5}))}, word=lambda s: {"out": next(words)})
    graph = govern(
        one(lambda s: inner.invoke({"out": ""}), checkpointer=InMemorySaver()),
        contracts={"n": Contract(gates=[custom(good)], attempts=3), "n/*": Contract(tools=["refund"])},
        sidecar=sidecar,
    )
    try:
        graph.invoke({"out": ""}, CONFIG)
    except GateRefused:
        pass

    assert [5] == till.ran("refund")


@pytest.mark.parametrize("saver", [True, False])
@pytest.mark.parametrize("fails", ["inside", "after"])
def test_an_effect_in_a_nested_graph_keeps_its_place_when_the_parent_is_retried(
    fails: str, saver: bool, sidecar: Sidecar, till: Any, one: Any, line: Any
) -> None:
    """Checkpoint-derived ids change with the parent's attempt; the structural path does not."""
    tries: list[int] = []

    def flaky(state: Any) -> Any:
        tries.append(1)
        if fails == "inside" and len(tries) == 1:
            raise ConnectionError("weather")
        return {"out": "x"}

    inner = line(charge=lambda s: {"out": str(till.refund.invoke({"amount": 5}))}, flaky=flaky)

    def node(state: Any) -> Any:
        result = inner.invoke({"out": ""})
        if fails == "after" and len(tries) == 1:
            raise ConnectionError("weather")
        return result

    graph = govern(
        one(node, options={"retry_policy": PATIENT}, checkpointer=InMemorySaver() if saver else None),
        contracts={"n": Contract(), "n/*": Contract(tools=["refund"])},
        sidecar=sidecar,
    )
    graph.invoke({"out": ""}, CONFIG)

    assert [5] == till.ran("refund")


def test_branches_of_one_node_have_places_of_their_own(sidecar: Sidecar, till: Any) -> None:
    """Fifty payloads sent to one node are fifty effects, not one effect found fifty times."""
    builder: Any = StateGraph(dict)
    builder.add_node("a", lambda s: {})
    builder.add_node("n", lambda s: till.refund.invoke({"amount": s["amount"]}) and None)
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda s: [Send("n", {"amount": n}) for n in range(50)], ["n"])
    graph = govern(builder.compile(), contracts={"*": Contract(tools=["refund"])}, sidecar=sidecar)

    graph.invoke({}, CONFIG)

    assert list(range(50)) == sorted(till.ran("refund"))


def test_equal_calls_of_parallel_branches_are_all_carried_out(sidecar: Sidecar, till: Any) -> None:
    builder: Any = StateGraph(dict)
    builder.add_node("a", lambda s: {})
    builder.add_node("n", lambda s: till.refund.invoke({"amount": 1}) and None)
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda s: [Send("n", {}) for _ in range(3)], ["n"])
    policy = Policy(loops=LoopPolicy(repeats=100))
    graph = govern(builder.compile(), contracts={"*": Contract(tools=["refund"])}, policy=policy, sidecar=sidecar)

    asyncio.run(graph.ainvoke({}, CONFIG))

    assert [1, 1, 1] == till.ran("refund")


def test_a_finished_effect_is_not_made_again_for_quality(sidecar: Sidecar, till: Any, one: Any) -> None:
    def node(state: Any) -> Any:
        till.refund.invoke({"amount": 5})
        return {"out": "bad"}

    graph = govern(
        one(node), contracts={"n": Contract(tools=["refund"], gates=[custom(good)], attempts=5)}, sidecar=sidecar
    )

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [5] == till.ran("refund")


def test_revisions_end(sidecar: Sidecar, one: Any, rows: Any) -> None:
    graph = govern(
        one(lambda s: {"out": "bad"}), contracts={"n": Contract(gates=[custom(good)], attempts=3)}, sidecar=sidecar
    )

    with pytest.raises(GateRefused):
        graph.invoke({"out": ""})

    assert 3 == sum(row.kind == "node.begun" for row in rows())


def test_a_revision_is_not_caught_by_an_error_handler_as_a_success(sidecar: Sidecar) -> None:
    builder: Any = StateGraph(dict)
    builder.add_node("n", lambda s: {"out": "bad"}, error_handler=lambda s: {"out": "handled"})
    builder.add_edge(START, "n")
    graph = govern(
        builder.compile(), contracts={"n": Contract(gates=[custom(good)], attempts=2), "*": Contract()}, sidecar=sidecar
    )
    try:
        result = graph.invoke({})
    except Refusal:
        result = {}

    assert "bad" != (result or {}).get("out")


# ---- loops and stops ---------------------------------------------------------------------------------------------


def test_the_same_call_with_the_same_result_is_stopped(sidecar: Sidecar, till: Any, one: Any) -> None:
    """LangGraph's own limit is ten thousand steps."""

    def node(state: Any) -> Any:
        for _ in range(50):
            till.lookup.invoke({"amount": 1})

    graph = govern(one(node), contracts={"n": Contract(tools=["lookup"])}, sidecar=sidecar)

    with pytest.raises(LoopStopped):
        graph.invoke({"out": ""})

    assert 3 == len(till.done)


def test_a_graph_that_goes_round_for_ever_is_stopped(sidecar: Sidecar) -> None:
    seen: list[int] = []
    builder: Any = StateGraph(dict)
    builder.add_node("n", lambda s: seen.append(1))
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", lambda s: "n", ["n"])
    policy = Policy(loops=LoopPolicy(visits=7))
    graph = govern(builder.compile(), contracts={"n": Contract()}, policy=policy, sidecar=sidecar)

    with pytest.raises(LoopStopped):
        graph.invoke({}, CONFIG)

    assert 7 == len(seen)


STOPS = {
    "everything": ("all", "*"),
    "the session": ("session", "t"),
    "the node": ("agent", "second"),
    "the role": ("agent", "payer"),
    "the tool": ("tool", "pay"),
    "the tenant": ("tenant", "acme"),
}


@pytest.mark.parametrize("what", list(STOPS))
@pytest.mark.parametrize("process", ["this", "another"])
def test_a_stop_takes_effect_in_the_middle_of_a_run(
    process: str, what: str, sidecar: Sidecar, till: Any, line: Any
) -> None:
    """Also one that another process wrote into the control file."""
    scope, name = STOPS[what]
    asked, given = threading.Event(), threading.Event()

    def operate() -> None:
        asked.wait(5)
        control = sidecar.control if process == "this" else Control(sidecar.control.path)
        control.stop(scope, name, reason="enough", by="alice")  # type: ignore[arg-type]
        given.set()

    def first(state: Any) -> Any:
        asked.set()
        given.wait(5)
        until = time.monotonic() + 5
        while not sidecar.control.stops and time.monotonic() < until:
            time.sleep(0.005)

    graph = line(first=first, second=lambda s: {"out": till.pay.invoke({"amount": 1})})
    contracts = {"first": Contract(), "second": Contract(tools=["pay"], role="payer")}
    govern(graph, contracts=contracts, policy=Policy(tenants=TenantPolicy(key="customer")), sidecar=sidecar)
    person = threading.Thread(target=operate)
    person.start()

    with pytest.raises(Halted, match="alice"):
        graph.invoke({"out": ""}, {"configurable": {"thread_id": "t", "customer": "acme"}})
    person.join()

    assert [] == till.done


def test_a_stop_swallowed_by_a_node_stays_a_stop(sidecar: Sidecar, till: Any, one: Any) -> None:
    sidecar.control.stop("tool", "pay", reason="enough", by="alice")

    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            till.lookup.invoke({"amount": 1})

    rule = Tool("pay", refusals="answer")
    graph = govern(one(node), contracts={"n": Contract(tools=[rule, "lookup"])}, sidecar=sidecar)

    with pytest.raises(Halted):
        graph.invoke({"out": ""})

    assert [] == till.done
