"""A session that was killed, cancelled or drained on its way, and went on, is one when it is replayed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl
from langgraph.types import Command, interrupt

from governance.plane.ledger import Ledger
from governance.replay import Recording, from_ledger, replay
from governance.replay.recording import Row
from tests.fixtures import State
from tests.governance.replay.conftest import THREAD, Stage

ROOT = Path(__file__).parents[3]
KILLED = """
import os, sqlite3, sys
from typing import TypedDict
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from governance import Contract, Policy, Sidecar, SideEffect, declares, govern
from governance.policy import LedgerPolicy

State = TypedDict("State", {"log": str})
sidecar = Sidecar(ledger="ledger.db")
sidecar.effects.lease = 0.5  # whoever runs on waits until the one that was killed has lost it


@declares(SideEffect("write", reconcile=lambda args: "reconciled " + str(os.getpid())))
@tool
def pay(amount: int) -> str:
    "Pays."
    if amount == 2 and not os.path.exists("killed"):
        open("killed", "w").close()
        sidecar.ledger.flush()
        os._exit(9)
    return f"paid {amount} by {os.getpid()}"


def first(state): return {"log": state["log"] + pay.invoke({"amount": 1})}
def second(state): return {"log": state["log"] + pay.invoke({"amount": 2})}
def third(state): return {"log": state["log"] + "."}


builder = StateGraph(State).add_sequence([first, second, third]).add_edge(START, "first")
graph = builder.compile(checkpointer=SqliteSaver(sqlite3.connect("saved.db", check_same_thread=False)))
policy = Policy(ledger=LedgerPolicy(payloads="all"))
govern(graph, contracts={"*": Contract(tools=["pay"])}, policy=policy, sidecar=sidecar)
if __name__ == "__main__":
    given = None if os.path.exists("killed") else {"log": ""}
    graph.invoke(given, {"configurable": {"thread_id": "t"}}, durability="sync")
    sidecar.close()
"""


def cut(recording: Recording, *gone: Callable[[Row], bool]) -> Recording:
    """The same record without the rows that a kill would have taken."""
    recording.rows = [row for row in recording.rows if not any(one(row) for one in gone)]
    return recording


def ended(path: str) -> Callable[[Row], bool]:
    return lambda row: row.kind == "node.ended" and row.path == path


def rested(row: Row) -> bool:
    return row.kind == "run.rested"


def test_a_process_that_was_killed_in_an_effect_and_went_on_replays_as_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killed_graph.py").write_text(KILLED, encoding="utf-8")
    command = [sys.executable, "killed_graph.py"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    codes = [subprocess.run(command, cwd=tmp_path, env=environment, timeout=60).returncode for _ in range(2)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import killed_graph  # type: ignore[import-not-found]

    recording = from_ledger(Ledger(tmp_path / "ledger.db"), "t")
    found = replay(killed_graph.graph, recording)
    assert [9, 0] == codes
    assert "effect.reconciled" in [row.kind for row in recording.rows]
    assert (True, 1, 3, 2) == (found.equal, found.runs, found.nodes, found.calls), str(found)
    killed_graph.sidecar.close()


def failing_once(then: Callable[[], Any]) -> Any:
    """A graph whose middle node does something unheard of the first time."""

    def middle(state: Any) -> Any:
        then()
        return {"log": ["middle"]}

    builder = StateGraph(State).add_node("first", lambda state: {"log": ["first"]}).add_node(middle)
    builder.add_node("beside", lambda state: {"log": ["beside"]}).add_node("last", lambda state: {"log": ["last"]})
    builder.add_edge(START, "first").add_edge("first", "middle").add_edge("first", "beside")
    return builder.add_edge(["middle", "beside"], "last").compile(checkpointer=InMemorySaver())


def killed(stage: Stage, once: Any) -> Recording:
    def leave() -> None:
        raise KeyboardInterrupt

    governed = stage.recorded(failing_once(once(leave)))
    with pytest.raises(KeyboardInterrupt):
        governed.invoke({"out": ""}, THREAD)
    governed.invoke(None, THREAD)
    assert ["first", "beside", "middle", "last"] == sorted(
        governed.get_state(THREAD).values["log"], key=["first", "beside", "middle", "last"].index
    )
    return stage.recording()


def test_a_run_that_was_left_and_went_on_replays_as_one(stage: Stage, once: Any) -> None:
    found = stage.replayed(failing_once(lambda: None), killed(stage, once))

    assert (True, 1, 4) == (found.equal, found.runs, found.nodes), str(found)


def test_a_change_after_a_kill_is_found_at_its_place(stage: Stage, once: Any) -> None:
    graph = failing_once(lambda: None)
    graph.nodes["last"].bound.func = lambda state: {"log": ["changed"]}

    assert ("last#3", "update") == stage.seen(graph, killed(stage, once))


def test_the_last_rows_that_a_kill_took_are_not_missed(stage: Stage, line: Any) -> None:
    def graph(first: str = "a") -> Any:
        return line(compiled={"checkpointer": InMemorySaver()}, a=lambda s: {"out": first}, b=lambda s: {"out": "b"})

    recording = cut(stage.record(graph(), {"out": ""}), ended("b#2"), rested)

    assert None is stage.seen(graph(), recording)
    assert ("a#1", "update") == stage.seen(graph("x"), recording)


def test_what_was_done_again_after_a_kill_counts_once(stage: Stage, line: Any) -> None:
    """The checkpoint of the first node was lost with the process, its rows were not."""

    def graph() -> Any:
        return line(compiled={"checkpointer": InMemorySaver()}, a=lambda s: {"out": "a"}, b=lambda s: {"other": "b"})

    first = cut(stage.record(graph(), {"out": ""}), ended("b#2"), rested).rows
    stage.sidecar.ledger.record("t", "run.resumed", body={"async": False, "saved": True, "limit": 25})
    whole = stage.record(graph(), {"out": ""}).rows
    resumed = next(row for row in whole if row.kind == "run.resumed")
    second = [row for row in whole if row.n > resumed.n and row.kind != "run.input"]
    recording = stage.recording()
    recording.rows = [*first, resumed, *second]

    found = stage.replayed(graph(), recording)
    assert (True, 1, 2) == (found.equal, found.runs, found.nodes), str(found)


def test_a_new_input_after_a_kill_begins_a_new_run(stage: Stage, line: Any, once: Any) -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    def graph(then: Any) -> Any:
        def node(state: Any) -> Any:
            then()
            return {"log": [state["out"]]}

        return line(compiled={"checkpointer": InMemorySaver()}, n=node)

    governed = stage.recorded(graph(once(leave)))
    with pytest.raises(KeyboardInterrupt):
        governed.invoke({"out": "a"}, THREAD)
    governed.invoke({"out": "b"}, THREAD)

    found = stage.replayed(graph(lambda: None), stage.recording())
    assert (True, 2) == (found.equal, found.runs), str(found)


def test_a_cancelled_run_that_went_on_replays_as_one(stage: Stage, line: Any) -> None:
    waiting: list[asyncio.Event] = []

    async def node(state: Any) -> Any:
        if waiting:
            waiting.pop().set()
            await asyncio.sleep(30)
        return {"out": "x"}

    async def cancelled(graph: Any) -> None:
        began = asyncio.Event()
        waiting.append(began)
        running = asyncio.ensure_future(graph.ainvoke({"out": ""}, THREAD))
        await began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await graph.ainvoke(None, THREAD)

    def graph() -> Any:
        return line(compiled={"checkpointer": InMemorySaver()}, n=node)

    asyncio.run(cancelled(stage.recorded(graph())))

    found = stage.replayed(graph(), stage.recording())
    assert (True, 1) == (found.equal, found.runs), str(found)


def test_a_drained_run_that_went_on_replays_as_one(stage: Stage, line: Any) -> None:
    control = RunControl()

    def drains(state: Any) -> Any:
        control.request_drain("a deployment")
        return {"out": "a"}

    def graph() -> Any:
        return line(compiled={"checkpointer": InMemorySaver()}, a=drains, b=lambda state: {"other": "b"})

    governed = stage.recorded(graph())
    with pytest.raises(Exception, match="a deployment"):
        governed.invoke({"out": ""}, THREAD, control=control)
    governed.invoke(None, THREAD)

    found = stage.replayed(graph(), stage.recording())
    assert (True, 1, 2) == (found.equal, found.runs, found.nodes), str(found)


def test_a_kill_within_a_nested_graph_leaves_what_it_had_done(stage: Stage, line: Any, once: Any) -> None:
    @tool
    def look(what: str) -> str:
        """Looks."""
        return f"{what} {id(look)}"

    def leave() -> None:
        raise KeyboardInterrupt

    def graph(then: Any) -> Any:
        def second(state: Any) -> Any:
            then()
            return {"log": [look.invoke({"what": "second"})]}

        inner = line(a=lambda state: {"log": [look.invoke({"what": "first"})]}, b=second)
        builder = StateGraph(State).add_node("outer", inner).add_edge(START, "outer")
        return builder.compile(checkpointer=InMemorySaver())

    governed = stage.recorded(graph(once(leave)))
    with pytest.raises(KeyboardInterrupt):
        governed.invoke({"out": ""}, THREAD)
    governed.invoke(None, THREAD)

    found = stage.replayed(graph(lambda: None), stage.recording())
    assert (True, 3) == (found.equal, found.nodes), str(found)


def test_an_answer_that_was_taken_before_a_kill_is_given_once(stage: Stage, line: Any, once: Any) -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    def graph(then: Any) -> Any:
        def node(state: Any) -> Any:
            answer = interrupt("?")
            then()
            return {"out": answer}

        return line(compiled={"checkpointer": InMemorySaver()}, n=node)

    governed = stage.recorded(graph(once(leave)))
    governed.invoke({"out": ""}, THREAD)
    with pytest.raises(KeyboardInterrupt):
        governed.invoke(Command(resume="yes"), THREAD)
    governed.invoke(None, THREAD)

    found = stage.replayed(graph(lambda: None), stage.recording())
    assert (True, 2) == (found.equal, found.runs), str(found)


def test_a_node_whose_last_row_was_lost_though_the_run_went_on_is_passed(stage: Stage, line: Any) -> None:
    def graph() -> Any:
        return line(compiled={"checkpointer": InMemorySaver()}, a=lambda s: {"out": "a"}, b=lambda s: {"out": "b"})

    assert None is stage.seen(graph(), cut(stage.record(graph(), {"out": ""}), ended("a#1")))


def test_a_call_whose_row_was_lost_is_said_to_be_lost(stage: Stage, line: Any) -> None:
    @tool
    def look(what: str) -> str:
        """Looks."""
        return what

    def graph() -> Any:
        return line(a=lambda s: {"out": look.invoke({"what": "x"})}, b=lambda s: {"out": "b"})

    recording = cut(stage.record(graph(), {"out": ""}), ended("a#1"), lambda row: row.kind == "tool.ended")
    assert ("a#1>look.0", "incomplete") == stage.seen(graph(), recording)
