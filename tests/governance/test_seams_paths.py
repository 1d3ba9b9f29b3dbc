"""Structural paths: the same place has the same name after a resume, a retry, a crash and a fork."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, interrupt

from governance import Contract, Sidecar, govern, operator
from governance.errors import ContractError, ContractViolation
from tests.fixtures import State

ROOT = Path(__file__).resolve().parents[2]
AGAIN = {"retry_policy": RetryPolicy(initial_interval=0, jitter=False, retry_on=ConnectionError)}


def saved() -> dict[str, Any]:
    return {"checkpointer": InMemorySaver()}


def quiet(state: Any) -> Any:
    return {}


def paths(rows: Any, name: str) -> list[str]:
    return [row.path for row in rows("node.begun") if row.actor == name]


def test_a_path_names_node_and_superstep(sidecar: Sidecar, rows: Any, line: Any) -> None:
    govern(line(a=quiet, b=quiet), sidecar=sidecar).invoke({"out": ""})

    assert ["a#1", "b#2"] == [row.path for row in rows("node.begun")]


def test_branches_of_one_superstep_have_numbers(sidecar: Sidecar, rows: Any) -> None:
    builder = StateGraph(State)
    builder.add_node("plan", quiet)
    builder.add_node("work", quiet)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", lambda s: [Send("work", {"item": n}) for n in range(3)], ["work"])
    govern(builder.compile(), sidecar=sidecar).invoke({"out": ""})

    assert ["work#2.s0", "work#2.s1", "work#2.s2"] == sorted(paths(rows, "work"))


def test_a_nested_graph_lies_below_its_node_and_each_run_of_it_has_a_number(
    sidecar: Sidecar, rows: Any, line: Any
) -> None:
    inner = line(leaf=quiet)

    def twice(state: Any) -> Any:
        inner.invoke({"out": ""})
        inner.invoke({"out": ""})
        return {}

    govern(line(sub=inner, code=twice), sidecar=sidecar).invoke({"out": ""})

    found = paths(rows, "leaf")
    assert 3 == len(set(found))
    assert ["sub#1/", "code#2/", "code#2/"] == [path[: path.index("/") + 1] for path in found]


def test_a_resumed_node_has_the_path_it_had(sidecar: Sidecar, rows: Any, thread: Any, line: Any) -> None:
    def asks(state: Any) -> Any:
        return {"out": interrupt("?")}

    graph = govern(line(compiled=saved(), sub=line(asks=asks)), sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    graph.invoke(Command(resume="yes"), thread)

    first, second = paths(rows, "asks")
    assert first == second
    executions = [row.body["execution"] for row in rows("node.begun") if row.actor == "asks"]
    assert 2 == len(set(executions))


def test_a_retried_parent_gives_its_nested_nodes_the_paths_they_had(sidecar: Sidecar, rows: Any, line: Any) -> None:
    """LangGraph's own task ids change here; effects would then happen twice."""
    failed: list[int] = []
    inner = line(leaf=quiet)

    def parent(state: Any) -> Any:
        inner.invoke({"out": ""})
        if not failed:
            failed.append(1)
            raise ConnectionError
        return {}

    govern(line(p=(parent, AGAIN)), sidecar=sidecar).invoke({"out": ""})

    first, second = paths(rows, "leaf")
    assert first == second


def test_a_retried_node_gives_its_tasks_the_paths_they_had(sidecar: Sidecar, rows: Any, line: Any) -> None:
    failed: list[int] = []

    @task
    def double(x: int) -> int:
        return x * 2

    def node(state: Any) -> Any:
        double(1).result(), double(2).result()
        if not failed:
            failed.append(1)
            raise ConnectionError
        return {}

    govern(line(n=(node, AGAIN)), sidecar=sidecar).invoke({"out": ""})

    found = paths(rows, "double")
    assert found[:2] == found[2:]


def test_a_rewind_comes_to_the_same_places(sidecar: Sidecar, rows: Any, thread: Any, line: Any) -> None:
    """LangGraph counts a step for the rewind itself, in which no node ran; what happened before is found again."""
    graph = govern(line(compiled=saved(), a=quiet, b=quiet), contracts={"*": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    before_b = next(s for s in graph.get_state_history(thread) if s.next == ("b",))
    with operator("ann", reason="what if"):
        graph.invoke(None, before_b.config)
        again = next(s for s in graph.get_state_history(thread) if s.next == ("b",))
        graph.invoke(None, again.config)

    assert ["b#2"] * 3 == paths(rows, "b")


@pytest.mark.parametrize("as_node", ["a", "b"], ids=["the node that ran last", "the node that is next"])
def test_a_change_of_state_moves_no_place(as_node: str, sidecar: Sidecar, rows: Any, thread: Any, line: Any) -> None:
    """A change in the name of the node that is next stands in for its step; any other takes none."""
    graph = govern(line(compiled=saved(), a=quiet, b=quiet, c=quiet), contracts={"*": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    before_b = next(s for s in graph.get_state_history(thread) if s.next == ("b",))
    with operator("ann", reason="what if"):
        graph.invoke(None, graph.update_state(before_b.config, {"out": "x"}, as_node=as_node))

    assert ["c#3", "c#3"] == paths(rows, "c")


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_rewound_and_changed_each_node_stays_at_its_place(
    seed: int, sidecar: Sidecar, rows: Any, thread: Any
) -> None:
    """Rewinds of rewinds, changes of changes, in the name of who was last, of who is next, or of nobody."""
    chance, log = random.Random(seed), {"log": ["x"]}
    builder = StateGraph(State)
    for name in ("a", "branch", "join", "b", "c"):
        builder.add_node(name, lambda state: log)
    builder.add_conditional_edges("a", lambda state: [Send("branch", {"out": n}) for n in "12"], ["branch"])
    for start, end in ((START, "a"), ("branch", "join"), ("join", "b"), ("b", "c")):
        builder.add_edge(start, end)
    graph = govern(builder.compile(checkpointer=InMemorySaver()), contracts={"*": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    with operator("ann", reason="what if"):
        for _ in range(8):
            at = chance.choice([one for one in graph.get_state_history(thread) if "__start__" not in one.next])
            config = at.config
            for _ in range(chance.randrange(3)):
                names = [None, *set(at.next)]
                config = graph.update_state(config, {"other": "x"}, as_node=chance.choice(names))
                at = graph.get_state(config)
            graph.invoke(None, config)

    places = {row.path for row in rows("node.begun")}
    assert {"a#1", "branch#2.s0", "branch#2.s1", "join#3", "b#4", "c#5"} == places


def test_a_change_of_state_leaves_no_trace_in_what_langgraph_shows(sidecar: Sidecar, thread: Any, line: Any) -> None:
    graph = govern(line(compiled=saved(), a=quiet), contracts={"*": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    with operator("ann", reason="what if"):
        graph.update_state(thread, {"out": "x"}, as_node="a")

    assert {"source": "update", "step": 2, "parents": {}} == graph.get_state(thread).metadata


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_nested_run_has_its_number_also_where_the_one_before_is_answered_from_its_checkpoint(
    asynchronous: bool, sidecar: Sidecar, rows: Any, thread: Any, line: Any
) -> None:
    first, second = line(x=quiet), line(y=lambda state: {"out": interrupt("?")}, z=quiet)

    def node(state: Any) -> Any:
        first.invoke({"out": ""})
        return second.invoke({"out": ""})

    async def anode(state: Any) -> Any:
        await first.ainvoke({"out": ""})
        return await second.ainvoke({"out": ""})

    graph = line(compiled=saved(), n=anode if asynchronous else node)
    govern(graph, contracts={"*": Contract(), "*/*": Contract()}, sidecar=sidecar)
    for given in ({"out": ""}, Command(resume="!")):
        asyncio.run(graph.ainvoke(given, thread)) if asynchronous else graph.invoke(given, thread)

    assert {"n#1/1:y#1"} == set(paths(rows, "y"))
    assert {"n#1/1:z#2"} == set(paths(rows, "z"))


def test_nested_runs_that_are_read_in_turns_keep_their_numbers(sidecar: Sidecar, rows: Any, line: Any) -> None:
    inner = line(x=quiet, y=quiet)

    def node(state: Any) -> None:
        runs = [inner.stream({"out": ""}) for _ in range(2)]
        for pieces in zip(*runs, strict=True):
            assert 2 == len(pieces)

    govern(line(n=node), contracts={"*": Contract(), "*/*": Contract()}, sidecar=sidecar).invoke({"out": ""})

    assert ["n#1/0:y#2", "n#1/1:y#2"] == sorted(paths(rows, "y"))


def test_runs_within_a_nested_node_do_not_number_the_nodes_after_it(sidecar: Sidecar, rows: Any, line: Any) -> None:
    innermost = line(z=quiet)

    def starts(state: Any) -> None:
        for _ in range(2):
            innermost.invoke({"out": ""})

    inner = line(x=starts, y=quiet)
    graph = line(n=lambda state: inner.invoke({"out": ""}))
    govern(graph, contracts={"*": Contract(), "*/*": Contract(), "*/*/*": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""})

    assert ["n#1/0:y#2"] == paths(rows, "y")


def test_tasks_of_one_function_are_told_apart(sidecar: Sidecar, rows: Any) -> None:
    @task
    def double(x: int) -> int:
        return x * 2

    @entrypoint()
    def work(x: int) -> int:
        return double(x).result() + double(x + 1).result()

    govern(work, sidecar=sidecar).invoke(1)
    govern(work, sidecar=sidecar).invoke(1)

    found = paths(rows, "double")
    assert 2 == len(set(found[:2]))
    assert found[:2] == found[2:]


CRASHING = """
import os, sys, sqlite3
from typing import TypedDict
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from governance import Contract, SideEffect, Sidecar, declares, govern

class State(TypedDict, total=False):
    out: str

@declares(SideEffect("write"))
@tool
def pay(amount: int) -> str:
    "Pays."
    with open("paid", "a") as file:
        file.write(f"{amount}\\n")
    return "paid"

def leaf(state):
    found = pay.invoke({"amount": 5})
    if os.environ.get("CRASH"):
        os._exit(9)
    return {"out": found}

def graph(name, node, **compiled):
    builder = StateGraph(State)
    builder.add_node("first", lambda state: {})
    builder.add_node(name, node)
    builder.add_edge(START, "first")
    builder.add_edge("first", name)
    return builder.compile(**compiled)

saver = SqliteSaver(sqlite3.connect("saver.db", check_same_thread=False))
made = graph("outer", graph("leaf", leaf), checkpointer=saver)
contracts = {"*": Contract(), "outer/leaf": Contract(tools=["pay"])}
govern(made, contracts=contracts, sidecar=Sidecar(ledger="ledger.db"))
given = {"out": ""} if os.environ.get("CRASH") else None
print(made.invoke(given, {"configurable": {"thread_id": "t"}}, durability="sync"))
"""


def test_after_a_crash_a_new_process_finds_the_effect_at_its_place(tmp_path: Path) -> None:
    """Killed between the effect and the end of its node: the second process pays nothing and gets the answer."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-c", CRASHING]
    crashed = subprocess.run(run, cwd=tmp_path, env={**env, "CRASH": "1"}, capture_output=True, text=True, timeout=60)
    again = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)

    assert 9 == crashed.returncode, crashed.stderr
    assert "{'out': 'paid'}\n" == again.stdout, again.stderr
    assert "5\n" == (tmp_path / "paid").read_text()


def writing(state: Any) -> Any:
    return {"out": "leaf"}


def test_two_parents_share_a_nested_graph_under_contracts_of_their_own(tmp_path: Path, line: Any) -> None:
    """Contracts bind by root graph and path: governing one parent never changes another."""
    inner = line(leaf=writing)
    free, strict = Sidecar(ledger=tmp_path / "a" / "l.db"), Sidecar(ledger=tmp_path / "b" / "l.db")
    one = govern(line(sub=inner), contracts={"*": Contract()}, sidecar=free)
    other = govern(line(sub=inner), contracts={"sub": Contract(), "sub/*": Contract(writes=[])}, sidecar=strict)

    for _ in range(2):
        assert "leaf" == one.invoke({"out": ""})["out"]
        with pytest.raises(ContractViolation, match="sub/leaf wrote 'out'"):
            other.invoke({"out": ""})
    free.close(), strict.close()


def test_a_nested_graph_alone_is_as_bare_as_it_was(sidecar: Sidecar, rows: Any, line: Any) -> None:
    inner = line(leaf=writing)
    govern(line(sub=inner), contracts={"sub": Contract(), "sub/*": Contract(writes=[])}, sidecar=sidecar)

    assert "leaf" == inner.invoke({"out": ""})["out"]
    assert [] == rows()


def test_a_nested_graph_governed_by_itself_brings_its_own_contracts(sidecar: Sidecar, line: Any) -> None:
    inner = govern(line(leaf=writing), contracts={"leaf": Contract(writes=[])}, sidecar=sidecar)

    def calls(state: Any) -> Any:
        return inner.invoke({"out": ""})

    outer = govern(line(calls=calls), contracts={"calls": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="leaf wrote 'out'"):
        outer.invoke({"out": ""})


def test_a_graph_made_at_run_time_needs_a_contract_before_it_runs(sidecar: Sidecar, line: Any) -> None:
    def calls(state: Any) -> Any:
        return line(leaf=writing).invoke({"out": ""})

    outer = govern(line(calls=calls), contracts={"calls": Contract()}, sidecar=sidecar)

    with pytest.raises(
        ContractViolation, match=r"calls/leaf has no contract; add one under 'calls/leaf' or a pattern like 'calls/\*'"
    ):
        outer.invoke({"out": ""})


def test_a_cache_policy_needs_a_waiver(sidecar: Sidecar, line: Any) -> None:
    def cached() -> Any:
        return line(compiled={"cache": InMemoryCache()}, n=(writing, {"cache_policy": CachePolicy()}))

    with pytest.raises(ContractError, match="node 'n' has a cache policy: a hit would pass its contract by"):
        govern(cached(), contracts={"n": Contract()}, sidecar=sidecar)
    graph = govern(cached(), contracts={"n": Contract(waives=["cache"])}, sidecar=sidecar)
    graph.invoke({"out": ""})

    assert {"n": {"out": "leaf"}, "__metadata__": {"cached": True}} == next(iter(graph.stream({"out": ""})))
