"""What is written down: each execution twice, each model and tool call once, with how it ended and why."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt

from governance import Contract, Proceed, Sidecar, govern
from governance.policy import LoopPolicy, Policy


def fails(state: Any) -> Any:
    raise ZeroDivisionError("x")


def pauses(state: Any) -> Any:
    interrupt("?")


@pytest.mark.parametrize(
    ("node", "kind", "fact"),
    [
        (lambda state: {"out": "x"}, "node.ended", ("wrote", ["out"])),
        (lambda state: None, "node.ended", ("wrote", "NoneType")),
        (fails, "node.failed", ("error", "ZeroDivisionError")),
        (pauses, "node.interrupted", ("attempt", 1)),
        (lambda state: {"typo": 1}, "node.refused", ("code", "contract")),
    ],
)
def test_an_execution_is_two_rows_and_the_second_says_how_it_ended(
    node: Any, kind: str, fact: Any, line: Any, sidecar: Sidecar, rows: Any, thread: Any
) -> None:
    graph = govern(
        line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts={"n": Contract()}, sidecar=sidecar
    )
    try:
        graph.invoke({"out": ""}, thread)
    except Exception:
        pass

    begun, ended = rows("node")
    assert ("node.begun", kind) == (begun.kind, ended.kind)
    assert begun.body["execution"] == ended.body["execution"]
    assert fact[1] == ended.body[fact[0]]
    assert ("t", "n#1", "n") == (ended.session, ended.path, ended.actor)


def test_the_row_of_a_tool_names_its_arguments(line: Any, sidecar: Sidecar, rows: Any) -> None:
    @tool
    def look(what: list[str]) -> str:
        """Looks."""
        what.append("changed")
        return "seen"

    graph = line(n=lambda state: {"out": look.invoke({"what": ["it"]})})
    govern(graph, contracts={"n": Contract(tools=["look"])}, sidecar=sidecar).invoke({"out": ""})

    assert [{"what": ["it"]}] == [row.body["args"] for row in rows("tool.ended")]


def test_what_a_filter_of_the_users_raises_is_on_record_too(line: Any, sidecar: Sidecar, rows: Any) -> None:
    def late(call: Any) -> Any:
        yield Proceed(call)
        raise LookupError("late")

    graph = govern(line(n=lambda state: {}), contracts={"n": Contract()}, filters=[late], sidecar=sidecar)
    with pytest.raises(LookupError):
        graph.invoke({"out": ""})

    assert ["LookupError"] == [row.body["error"] for row in rows("node.failed")]


def test_the_rules_in_force_are_named_by_their_digests(line: Any, sidecar: Sidecar, rows: Any) -> None:
    contract, policy = Contract(writes=["out"]), Policy(loops=LoopPolicy(visits=7))
    graph = govern(line(n=lambda state: {}), contracts={"n": contract}, policy=policy, sidecar=sidecar)
    graph.invoke({"out": ""})

    assert [(contract.digest, policy.digest)] == [(r.body["contract"], r.body["policy"]) for r in rows("node.begun")]
