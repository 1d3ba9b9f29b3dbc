"""A policy file that changes is in force from the next call on, or not at all; either way it is on record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from governance import Contract, Policy, Sidecar, govern
from governance.errors import Halted, LoopStopped
from governance.plane import control
from governance.policy import LoopPolicy

Put = Callable[[str], Path]
RULES = {"n": Contract()}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background thread looks often, so that nobody waits for it."""
    monkeypatch.setattr(control, "REFRESH", 0.02)


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes the policy file, as long ago as it takes for a file to count as whole."""
    times = iter(range(1, 10_000))

    def write(text: str) -> Path:
        path = tmp_path / "sidecar.toml"
        path.write_text(text, encoding="utf-8")
        then = time.time_ns() - 3600 * 10**9 + next(times) * 10**6
        os.utime(path, ns=(then, then))
        return path

    return write


@pytest.fixture
def told(rows: Any) -> Callable[[str], Any]:
    """Waits for a row of a kind, and gives its body; of several the last."""

    def wait(kind: str, count: int = 1) -> Any:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = rows(kind)
            if len(found) >= count:
                return found[-1].body
            time.sleep(0.01)
        raise AssertionError(f"no {kind} on record")

    return wait


def visiting(limit: int) -> str:
    return f"[loops]\nvisits = {limit}\n"


def runs(graph: Any, session: str = "t") -> Any:
    return graph.invoke({"out": ""}, {"configurable": {"thread_id": session}})


@pytest.fixture
def graph(sidecar: Sidecar, one: Any, put: Put) -> Any:
    return govern(one(lambda s: {"out": "x"}), contracts=RULES, policy=put(visiting(100)), sidecar=sidecar)


def test_a_change_is_in_force_for_the_next_call_and_on_record(graph: Any, put: Put, told: Any) -> None:
    runs(graph)
    path = put(visiting(1))
    body = told("policy.changed")

    with pytest.raises(LoopStopped, match="the policy allows 1"):
        runs(graph)

    assert {"loops.visits": [100, 1]} == body["changes"]
    assert (str(path), Policy(loops=LoopPolicy(visits=1)).digest) == (body["file"], body["after"])


def test_what_was_off_is_turned_on_and_off_again(graph: Any, put: Put, told: Any) -> None:
    """A filter that no policy asked for stands in no chain; the change builds the chains anew."""
    put("[loops]\nrepeats = 3\n[retries]\nattempts = 2\n")
    runs(graph)
    assert {"loops.visits": [100, None]}.items() <= told("policy.changed")["changes"].items()
    put(visiting(1))
    told("policy.changed", 2)

    with pytest.raises(LoopStopped):
        for _ in range(3):
            runs(graph)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[loops]\nvisit = 1\n", "sidecar.toml:2: unknown key 'visit'"),
        ("[loops\n", "sidecar.toml:1: this is no TOML"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("[loops]\nvisits = 1\n[ledger]\npath = 'other.db'", "ledger.path cannot change while a process runs"),
        ("[loops]\nvisits = 1\n[ledger]\npayloads = 'all'", "ledger.payloads cannot change while a process runs"),
    ],
)
def test_a_file_that_cannot_be_in_force_leaves_the_old_policy_and_is_on_record(
    text: str, words: str, graph: Any, put: Put, told: Any
) -> None:
    runs(graph)
    with pytest.warns(RuntimeWarning, match="Sidecar keeps the policy it has"):
        put(text)
        body = told("policy.rejected")

    for _ in range(3):
        runs(graph)

    assert words in body["reason"]
    assert [Policy(loops=LoopPolicy(visits=100)).digest] == body["in_force"]


def test_a_file_that_is_gone_is_said_once_and_taken_up_when_it_is_back(
    graph: Any, put: Put, told: Any, rows: Any
) -> None:
    runs(graph)
    with pytest.warns(RuntimeWarning, match="is gone; put it back"):
        put(visiting(100)).unlink()
        told("policy.rejected")
    put(visiting(1))
    told("policy.changed")

    with pytest.raises(LoopStopped):
        runs(graph)

    assert 1 == len(rows("policy.rejected"))


def test_redaction_can_be_added_but_not_taken_away(graph: Any, put: Put, told: Any, rows: Any) -> None:
    runs(graph)
    put("[ledger]\nredact = ['4711']\n")
    told("policy.changed")
    runs(graph, "4711")
    with pytest.warns(RuntimeWarning, match="ledger.redact lost '4711'"):
        put(visiting(1))
        told("policy.rejected")

    runs(graph)


def test_a_file_that_is_still_being_written_is_left_alone(
    graph: Any, put: Put, told: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The half of a file can be a good one that says something else."""
    monkeypatch.setattr("governance.reload.SETTLED", 3600)
    monkeypatch.setattr(control, "REFRESH", 3600)
    runs(graph)
    file = put("[loops]\n")
    os.utime(file)
    look = lambda: graph_files(graph)._look(None)
    look()
    file.write_text(visiting(1))
    look()
    assert [] == rows("policy")
    look()

    assert {"loops.visits": [100, 1]} == told("policy.changed")["changes"]


def graph_files(graph: Any) -> Any:
    from governance.seams import governance_of

    found = governance_of(graph)
    assert found is not None
    return found.sidecar.policies


def test_graphs_with_files_of_their_own_change_alone(
    sidecar: Sidecar, one: Any, put: Put, told: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(visiting(100))
    changing = govern(one(lambda s: {"out": "x"}), contracts=RULES, policy=put(visiting(100)), sidecar=sidecar)
    staying = govern(one(lambda s: {"out": "x"}), contracts=RULES, policy=other, sidecar=sidecar)
    runs(changing)
    put(visiting(1))
    told("policy.changed")

    for _ in range(3):
        runs(staying, "s")
    with pytest.raises(LoopStopped):
        runs(changing)


def test_a_graph_inside_that_has_no_file_goes_by_the_change_too(
    sidecar: Sidecar, line: Any, put: Put, told: Any
) -> None:
    inner = line(a=lambda s: (put(visiting(1)), told("policy.changed"), {"out": "a"})[-1], b=lambda s: {"out": "b"})
    graph = govern(line(sub=inner), contracts={"*": Contract()}, policy=put(visiting(100)), sidecar=sidecar)
    runs(graph)

    with pytest.raises(LoopStopped):
        runs(graph)


def test_breakers_and_budgets_whose_rules_are_the_same_keep_what_they_know(
    sidecar: Sidecar, one: Any, put: Put, told: Any
) -> None:
    rules = "[breaker]\nwindow = 60\n"
    graph = govern(one(lambda s: {"out": "x"}), contracts=RULES, policy=put(rules), sidecar=sidecar)
    runs(graph)
    directory = lambda: graph_governance(graph).directory
    before = directory()._named(("tool:pay",))
    put(rules + visiting(5))
    told("policy.changed")

    assert directory()._named(("tool:pay",)) is before


def graph_governance(graph: Any) -> Any:
    from governance.seams import governance_of

    return governance_of(graph)


def test_a_stop_binds_whatever_the_policy_is(graph: Any, sidecar: Sidecar, put: Put, told: Any) -> None:
    runs(graph)
    sidecar.control.stop("agent", "n", reason="enough", by="alice")
    put(visiting(5))
    told("policy.changed")

    with pytest.raises(Halted):
        runs(graph)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_goes_by_a_change_that_came_after_the_fork(graph: Any, put: Put) -> None:
    runs(graph)
    child = os.fork()
    if child == 0:  # pragma: no cover  # in the child
        code = 1
        try:
            put(visiting(1))
            until, number = time.monotonic() + 60, 0
            while code and time.monotonic() < until:
                number += 1
                try:
                    runs(graph, f"child {number}")
                    runs(graph, f"child {number}")
                    time.sleep(0.01)
                except LoopStopped:
                    code = 0
        finally:
            os._exit(code)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
