"""Loops: the same call with the same result too often, and a node visited too often, end the session."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from governance import Contract, Policy, Sidecar, govern
from governance.errors import LoopStopped
from governance.policy import LoopPolicy


class Counted(TypedDict, total=False):
    count: int


def asking(*questions: str, answers: Any = lambda what: "same") -> tuple[Any, list[str]]:
    asked: list[str] = []

    @tool
    def look(what: str) -> str:
        """Looks."""
        asked.append(what)
        return answers(len(asked))

    return lambda state: [look.invoke({"what": q}) for q in questions] and {}, asked


def governed(line: Any, node: Any, sidecar: Sidecar, **contract: Any) -> Any:
    policy = Policy(loops=LoopPolicy(repeats=3))
    return govern(line(n=node), contracts={"n": Contract(tools=["look"], **contract)}, policy=policy, sidecar=sidecar)


def test_the_same_call_with_the_same_result_is_stopped(line: Any, sidecar: Sidecar) -> None:
    node, asked = asking(*"aaaa")

    with pytest.raises(
        LoopStopped, match="look was called 3 times in a row with the same arguments and the same result"
    ):
        governed(line, node, sidecar).invoke({"out": ""})
    assert 3 == len(asked)


@pytest.mark.parametrize(
    ("questions", "answers"), [("abab" * 2, lambda n: "same"), ("aaaaaa", str), ("aabaab", lambda n: "same")]
)
def test_progress_is_no_loop(questions: str, answers: Any, line: Any, sidecar: Sidecar) -> None:
    node, asked = asking(*questions, answers=answers)
    governed(line, node, sidecar).invoke({"out": ""})

    assert list(questions) == asked


def test_a_loop_goes_on_across_nodes_and_runs_of_a_session(line: Any, sidecar: Sidecar, thread: Any) -> None:
    node, _ = asking("a")
    graph = governed(line, node, sidecar)
    for _ in range(3):
        graph.invoke({"out": ""}, thread)

    with pytest.raises(LoopStopped):
        graph.invoke({"out": ""}, thread)
    graph.invoke({"out": ""}, {"configurable": {"thread_id": "another"}})


def test_a_poller_may_waive_it(line: Any, sidecar: Sidecar) -> None:
    node, asked = asking(*"aaaaaa")
    governed(line, node, sidecar, waives=["loops"]).invoke({"out": ""})

    assert 6 == len(asked)


def test_a_node_is_visited_no_more_often_than_the_policy_allows(sidecar: Sidecar, thread: Any) -> None:
    builder = StateGraph(Counted)
    builder.add_node("n", lambda state: {"count": state.get("count", 0) + 1})
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", lambda state: "n", ["n", END])
    policy = Policy(loops=LoopPolicy(visits=5))
    graph = govern(builder.compile(), contracts={"n": Contract()}, policy=policy, sidecar=sidecar)

    with pytest.raises(LoopStopped, match="n ran 5 times in this session, the policy allows 5"):
        graph.invoke({"count": 0}, thread)
