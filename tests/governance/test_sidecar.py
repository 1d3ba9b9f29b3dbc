"""`govern` and `Sidecar`: modes, chains, what outlives a call, and that many runs leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool

from governance import Contract, Policy, Proceed, Sidecar, Tool, at_most, govern
from governance.errors import ContractError, PolicyError
from governance.policy import LedgerPolicy
from governance.testing.models import ScriptedChatModel

ROOT = Path(__file__).resolve().parents[2]


def quiet(state: Any) -> Any:
    return {"out": "x"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "loose"}, "mode must be 'observe', 'enforce' or 'strict', not 'loose'"),
        ({"mode": "enforce"}, r"mode 'enforce' needs contracts; give contracts=\{\.\.\.\} or leave mode out"),
        ({"mode": "strict"}, "mode 'strict' needs contracts"),
    ],
)
def test_a_mode_that_cannot_be_meant_is_refused(options: Any, words: str, line: Any, sidecar: Sidecar) -> None:
    with pytest.raises(ContractError, match=words):
        govern(line(n=quiet), sidecar=sidecar, **options)


def test_a_wrong_policy_leaves_the_graph_alone(line: Any, sidecar: Sidecar, rows: Any, tmp_path: Path) -> None:
    graph = line(n=quiet)
    with pytest.raises(PolicyError):
        govern(graph, policy=tmp_path / "no.toml", sidecar=sidecar)
    graph.invoke({"out": ""})

    assert [] == rows()


def test_the_graph_that_comes_back_is_the_graph_that_went_in(line: Any, sidecar: Sidecar) -> None:
    graph = line(n=quiet)

    assert graph is govern(graph, sidecar=sidecar)


def test_an_observed_graph_is_recorded_and_never_altered(line: Any, sidecar: Sidecar, rows: Any) -> None:
    graph = govern(line(n=lambda state: {"out": "x", "typo": 1, "amount": "12"}), sidecar=sidecar)

    assert {"out": "x", "amount": "12"} == {k: v for k, v in graph.invoke({"out": ""}).items() if k != "messages" and v}
    assert ["node.begun", "node.ended"] == [row.kind for row in rows()]


def test_filters_of_the_user_stand_in_the_middle_of_their_boundary(line: Any, sidecar: Sidecar, rows: Any) -> None:
    seen: list[str] = []

    def at_node(call: Any) -> Any:
        seen.append(f"{call.boundary} {call.path}")
        update = yield Proceed(call)
        return {**update, "other": "added"}

    class AtTool:
        at = "tool"

        def __call__(self, call: Any) -> None:
            seen.append(f"{call.boundary} {call.path}")

    @tool
    def look(what: str) -> str:
        """Looks."""
        return "seen"

    graph = line(n=lambda state: {"out": look.invoke({"what": "it"})})
    govern(graph, contracts={"n": Contract(tools=["look"])}, filters=[at_node, AtTool()], sidecar=sidecar)

    assert "added" == graph.invoke({"out": ""})["other"]
    assert ["node n#1", "tool n#1>look.0"] == seen


def test_what_a_filter_of_the_user_writes_is_held_to_the_contract(line: Any, sidecar: Sidecar) -> None:
    from governance.errors import ContractViolation

    def forges(call: Any) -> Any:
        yield Proceed(call)
        return {"other": "forged"}

    graph = govern(line(n=quiet), contracts={"n": Contract(writes=["out"])}, filters=[forges], sidecar=sidecar)

    with pytest.raises(ContractViolation, match="n wrote 'other'"):
        graph.invoke({"out": ""})


def test_a_sidecar_opens_nothing_before_it_is_needed_and_closes_as_often_as_asked(tmp_path: Path) -> None:
    sidecar = Sidecar(ledger=tmp_path / "x" / "ledger.db")
    sidecar.close()
    sidecar.close()

    assert not (tmp_path / "x").exists()


def test_a_closed_sidecar_goes_on_when_it_is_needed_again(line: Any, sidecar: Sidecar, rows: Any) -> None:
    graph = govern(line(n=quiet), contracts={"n": Contract()}, sidecar=sidecar)
    for _ in range(3):
        graph.invoke({"out": ""})
        sidecar.close()

    assert 6 == len(rows("node"))


def test_a_policy_says_where_the_record_is_kept(line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from governance.seams import governance_of

    monkeypatch.delenv("SIDECAR_LEDGER", raising=False)
    policy = Policy(ledger=LedgerPolicy(path=str(tmp_path / "a.db"), control=str(tmp_path / "b.db")))
    one, other = govern(line(n=quiet), policy=policy), govern(line(n=quiet), policy=policy)
    shared: Any = governance_of(one)

    assert (tmp_path / "a.db", tmp_path / "b.db") == (shared.ledger.path, shared.control.path)
    assert shared.sidecar is governance_of(other).sidecar  # type: ignore[union-attr]
    shared.sidecar.close()


def test_two_graphs_on_one_sidecar_are_on_one_record(line: Any, sidecar: Sidecar, rows: Any, thread: Any) -> None:
    for name in ("a", "b"):
        govern(line(**{name: quiet}), sidecar=sidecar).invoke({"out": ""}, thread)

    assert [("t", 1, "a"), ("t", 2, "a"), ("t", 3, "b"), ("t", 4, "b")] == [(r.session, r.n, r.actor) for r in rows()]


def test_a_run_without_a_thread_is_a_session_of_its_own(line: Any, sidecar: Sidecar, rows: Any) -> None:
    graph = govern(line(a=quiet, b=quiet), sidecar=sidecar)
    graph.invoke({"out": ""})
    graph.invoke({"out": ""})

    assert 2 == len({row.session for row in rows()})


ENDING = """
from typing import TypedDict
from langgraph.graph import START, StateGraph
from governance import Contract, govern

class State(TypedDict):
    out: str

builder = StateGraph(State)
builder.add_node("n", lambda state: {"out": "x"})
builder.add_edge(START, "n")
print(govern(builder.compile(), contracts={"n": Contract()}).invoke({"out": ""}))
"""


def test_a_program_that_just_ends_has_everything_on_record(tmp_path: Path) -> None:
    """No close, no flush, no path given: two rows below the directory it ran in."""
    import sqlite3

    env = {k: v for k, v in os.environ.items() if not k.startswith("SIDECAR")} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ENDING], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )

    assert ("{'out': 'x'}\n", "") == (done.stdout, done.stderr)
    with sqlite3.connect(tmp_path / ".sidecar" / "ledger.db") as db:
        assert [("node.begun",), ("node.ended",)] == db.execute("SELECT kind FROM events ORDER BY n").fetchall()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_worker_runs_governed_graphs(line: Any, sidecar: Sidecar, rows: Any) -> None:
    graph = govern(line(n=quiet), contracts={"n": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""}, {"configurable": {"thread_id": "parent"}})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            graph.invoke({"out": ""}, {"configurable": {"thread_id": "child"}})
            sidecar.ledger.flush()
            code = 0
        finally:
            os._exit(code)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    graph.invoke({"out": ""}, {"configurable": {"thread_id": "parent"}})

    assert ["child", "child", "parent", "parent", "parent", "parent"] == sorted(row.session for row in rows())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files cannot be counted here")
def test_three_hundred_runs_leave_no_thread_and_no_open_file_behind(line: Any, sidecar: Sidecar) -> None:
    @tool
    def look(amount: int) -> str:
        """Looks."""
        return str(amount)

    def node(state: Any) -> Any:
        model = ScriptedChatModel(["hello"])
        return {"out": str(model.invoke("hi").content) + look.invoke({"amount": 1})}

    rule = Tool("look", where={"amount": at_most(5)})
    graph = govern(line(n=node), contracts={"n": Contract(tools=[rule], tokens=5000, timeout=30)}, sidecar=sidecar)

    def runs(many: int) -> None:
        for _ in range(many):
            graph.invoke({"out": ""})

    async def aruns(many: int) -> None:
        for _ in range(many):
            await graph.ainvoke({"out": ""})

    asyncio.run(aruns(10))
    runs(10)
    sidecar.ledger.flush()
    gc.collect()
    before = threading.active_count(), descriptors()
    runs(200)
    asyncio.run(aruns(100))
    sidecar.ledger.flush()
    gc.collect()

    assert threading.active_count() <= before[0] + 1
    assert descriptors() <= before[1] + 2
