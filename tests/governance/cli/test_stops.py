"""`sidecar stop`, `resume`, `status`: the halt switch works from any shell and is on record."""

from __future__ import annotations

import pytest

from tests.governance.cli.conftest import Project


def test_a_stopped_agent_is_refused_until_it_is_resumed(project: Project) -> None:
    args = ("run", "./agent.py:approving", "--input", "in.json")
    project.sidecar("stop", "agent", "add", "--reason", "looks odd", "--by", "alice")

    stopped = project.sidecar(*args)
    project.sidecar("resume", "agent", "add")

    assert (3, True) == (stopped.code, "looks odd" in stopped.err)
    assert 4 == project.sidecar(*args).code


def test_status_shows_stops_and_approvals(project: Project) -> None:
    project.sidecar("run", "./agent.py:approving", "--input", "in.json", "--thread", "t")
    project.sidecar("stop", "all", "--reason", "drill", "--by", "alice")

    found = project.sidecar("status", "--json").json

    assert [("all", "*", "drill", "local:alice")] == [
        (s["scope"], s["name"], s["reason"], s["by"]) for s in found["stops"]
    ]
    assert ["t"] == [card["session"] for card in found["approvals"]]


def test_stops_are_on_record_in_the_session_of_operators(project: Project) -> None:
    project.sidecar("stop", "tool", "refund", "--reason", "bug", "--by", "alice")
    project.sidecar("resume", "tool", "refund", "--reason", "mended", "--by", "bob")

    lines = project.sidecar("ledger", "show", "operator").out.splitlines()

    assert [True, True] == ["control.stopped local:alice" in lines[0], "control.resumed local:bob" in lines[1]]


def test_a_stop_holds_even_where_it_cannot_be_put_on_record(project: Project) -> None:
    """Safety first: the error says that the record lacks it."""
    project.write("flat", "")

    ended = project.sidecar("stop", "all", "--reason", "fire", "--ledger", "flat/l.db", "--control", "c.db")

    assert (5, True) == (ended.code, "cannot be written" in ended.line)
    assert ["fire"] == [s["reason"] for s in project.sidecar("status", "--control", "c.db", "--json").json["stops"]]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["stop", "all"], "a stop needs --reason"),
        (["stop", "agent", "--reason", "x"], "`agent` needs the name of the agent"),
        (["stop", "all", "refund", "--reason", "x"], "`all` takes no name"),
        (["stop", "nobody", "--reason", "x"], "nobody"),
        (["resume", "tool", "refnd"], "did you mean 'tool refund'?"),
    ],
)
def test_bad_use_is_one_line(project: Project, args: list[str], expected: str) -> None:
    project.sidecar("stop", "tool", "refund", "--reason", "bug")

    ended = project.sidecar(*args)

    assert (2, True) == (ended.code, expected in ended.line)
