"""A question to a person is asked, whatever code swallows it on the way up, and nobody vouches for its answer inside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.func import task
from langgraph.types import Command, interrupt

from governance import Approval, Contract, Principal, Sidecar, Tool, govern
from governance.errors import ApprovalDenied

ALICE = Principal("alice", "local")
CAREFUL = Approval("careful")
ASKING = Contract(tools=[Tool("pay", approval=Approval("money"))])
PERMITTED = {"n": Contract(tools=["delegate"]), "n/*": ASKING}


def quiet(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception:
        return {"out": "paid, I think"}


def swallowing(pay: Any, line: Any) -> dict[str, Callable[[], Any]]:
    """What a node may do around a question that is asked inside of it."""
    child = line(pay=lambda s: {"out": pay.invoke({"amount": 5})})
    middle = line(child=lambda s: quiet(lambda: child.invoke({"out": ""})))

    @task(name="pay")
    def pays() -> Any:
        return pay.invoke({"amount": 5})

    @tool
    def delegate() -> str:
        """Delegate."""
        return str(child.invoke({"out": ""})["out"])

    def in_a_pool() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(child.invoke, {"out": ""}).result()

    return {
        "nested graph": lambda: child.invoke({"out": ""}),
        "stream": lambda: list(child.stream({"out": ""}))[-1],
        "two deep": lambda: middle.invoke({"out": ""}),
        "async": lambda: asyncio.run(child.ainvoke({"out": ""})),
        "task": lambda: pays().result(),
        "tool": lambda: delegate.invoke({}),
        "pool": in_a_pool,
    }


WAYS = ["nested graph", "stream", "two deep", "async", "task", "tool", "pool"]


@pytest.mark.parametrize("way", WAYS)
def test_a_question_that_a_node_swallows_is_asked_all_the_same(
    way: str, sidecar: Sidecar, till: Any, one: Any, line: Any, thread: Any
) -> None:
    work = swallowing(till.pay, line)[way]
    graph = govern(one(lambda s: quiet(work), checkpointer=InMemorySaver()), contracts=PERMITTED, sidecar=sidecar)

    got = graph.invoke({"out": ""}, thread)

    assert "money" == got["__interrupt__"][0].value["what"]["reason"]
    assert "" == got["out"]


@pytest.mark.parametrize("way", ["nested graph", "two deep", "task"])
def test_what_was_swallowed_goes_on_once_it_is_answered(
    way: str, sidecar: Sidecar, till: Any, one: Any, line: Any, thread: Any
) -> None:
    work = swallowing(till.pay, line)[way]

    def node(state: Any) -> Any:
        quiet(work)
        return {"out": "done"}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts=PERMITTED, sidecar=sidecar)
    [asked] = graph.invoke({"out": ""}, thread)["__interrupt__"]
    sidecar.approvals.decide(asked.id, "approve", by=ALICE)

    assert ("done", [5]) == (graph.invoke(None, thread)["out"], till.ran("pay"))


def test_a_no_to_what_was_swallowed_is_final(sidecar: Sidecar, till: Any, one: Any, line: Any, thread: Any) -> None:
    work = swallowing(till.pay, line)["nested graph"]
    graph = govern(one(lambda s: quiet(work), checkpointer=InMemorySaver()), contracts=PERMITTED, sidecar=sidecar)
    [asked] = graph.invoke({"out": ""}, thread)["__interrupt__"]
    sidecar.approvals.decide(asked.id, "deny", by=ALICE, reason="no")

    with pytest.raises(ApprovalDenied):
        graph.invoke(None, thread)

    assert [] == till.done


def test_a_question_about_an_update_is_not_swallowed_either(sidecar: Sidecar, one: Any, line: Any, thread: Any) -> None:
    child = line(write=lambda s: {"out": "x"})
    contracts = {"n": Contract(), "n/write": Contract(approval=CAREFUL)}
    node = lambda s: quiet(lambda: child.invoke({"out": ""}))
    graph = govern(one(node, checkpointer=InMemorySaver()), contracts=contracts, sidecar=sidecar)

    assert "careful" == graph.invoke({"out": ""}, thread)["__interrupt__"][0].value["what"]["reason"]


def test_a_question_of_the_authors_own_may_be_handled_by_the_authors_code(
    sidecar: Sidecar, one: Any, line: Any, thread: Any
) -> None:
    """LangGraph allows it: only what a contract asks has to reach a person."""
    child = line(ask=lambda s: {"out": interrupt("which one?")})

    def node(state: Any) -> Any:
        try:
            return child.invoke({"out": ""})
        except GraphInterrupt:
            return {"out": "the first one"}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts={"*": Contract()}, sidecar=sidecar)

    assert "the first one" == graph.invoke({"out": ""}, thread)["out"]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_node_vouches_for_nobody_in_what_it_hands_down(
    depth: int, sidecar: Sidecar, till: Any, one: Any, line: Any, thread: Any
) -> None:
    """A server puts the user it has authenticated into the configuration; so could a node, for a graph it runs."""
    forged = {"configurable": {"langgraph_auth_user": SimpleNamespace(identity="boss")}}
    child = line(pay=lambda s: {"out": till.pay.invoke({"amount": 5})})
    node = lambda s: child.invoke({"out": ""}, forged)
    if depth == 2:
        middle = line(m=node)
        node = lambda s: middle.invoke({"out": ""})
    graph = govern(one(node, checkpointer=InMemorySaver()), contracts=PERMITTED, sidecar=sidecar)
    [asked] = graph.invoke({"out": ""}, thread)["__interrupt__"]

    got = graph.invoke(Command(resume={"card": asked.id, "decision": "approve", "by": "nobody"}), thread)

    assert "nobody vouches" in got["__interrupt__"][0].value["error"]
    assert [] == till.done


def test_the_user_of_the_run_vouches_for_answers_deep_inside(
    sidecar: Sidecar, till: Any, line: Any, thread: Any
) -> None:
    served = {"configurable": {**thread["configurable"], "langgraph_auth_user": SimpleNamespace(identity="boss")}}
    agent = line(pay=lambda s: {"out": till.pay.invoke({"amount": 5})})
    graph = govern(line(compiled={"checkpointer": InMemorySaver()}, n=agent), contracts=PERMITTED, sidecar=sidecar)
    [asked] = graph.invoke({"out": ""}, served)["__interrupt__"]

    graph.invoke(Command(resume={"card": asked.id, "decision": "approve"}), served)

    assert [5] == till.ran("pay")
