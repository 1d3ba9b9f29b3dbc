"""`sidecar run` ends in one of five ways, says which, and can be gone on from."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from governance.plane.verify import verify
from tests.governance.cli.conftest import Project


def kinds(project: Project, session: str) -> list[str]:
    with sqlite3.connect(project.path / ".sidecar/ledger.db") as db:
        return [kind for (kind,) in db.execute("SELECT kind FROM events WHERE session=? ORDER BY n", (session,))]


def test_a_finished_run_prints_its_final_state_as_json(project: Project) -> None:
    """Sync and async nodes alike; everything that is no result goes to stderr."""
    ended = project.sidecar("run", "./agent.py:graph", "--input", "in.json")

    assert (0, {"n": 4}) == (ended.code, ended.json)


def test_a_graph_is_found_by_its_name_in_langgraph_json(project: Project) -> None:
    assert 0 == project.sidecar("run", "agent", "--input", "in.json").code


def test_the_input_can_come_from_stdin(project: Project) -> None:
    assert {"n": 12} == project.sidecar("run", "agent", "--input", "-", given='{"n": 5}').json


def test_each_node_is_shown_as_it_ends(project: Project) -> None:
    err = project.sidecar("run", "agent", "--input", "in.json").err

    assert 0 < err.index("done    add") < err.index("done    double")


def test_an_ungoverned_graph_is_observed_and_that_is_said(project: Project) -> None:
    ended = project.sidecar("run", "agent", "--input", "in.json", "--thread", "t")

    assert "agent is not governed: it is only observed" in ended.err
    assert ["run.begun", "node.begun", "node.ended", "node.begun", "node.ended", "run.ended"] == kinds(project, "t")


def test_json_is_all_there_is_on_stdout(project: Project) -> None:
    ended = project.sidecar("run", "agent", "--input", "in.json", "--thread", "t", "--json")

    assert ("done", {"n": 4}, "t", "") == (ended.json["status"], ended.json["state"], ended.json["thread"], ended.err)


def test_a_run_that_waits_says_how_to_decide_and_goes_on_with_what_was_approved(project: Project) -> None:
    """Exit code 4, then the two commands it printed, then 0."""
    waits = project.sidecar("run", "./agent.py:approving", "--input", "in.json", "--thread", "t")

    assert 4 == waits.code
    assert "waits for approval" in waits.err and 'add {"n": 2}' in waits.err
    assert "sidecar approvals approve" in waits.err
    assert "sidecar run ./agent.py:approving --thread t --resume" in waits.err

    assert 0 == project.sidecar("approvals", "approve", "--by", "alice", "--reason", "fine").code
    resumed = project.sidecar("run", "./agent.py:approving", "--thread", "t", "--resume")

    assert (0, {"n": 4}) == (resumed.code, resumed.json)
    assert verify(project.path / ".sidecar/ledger.db").ok


def test_a_question_of_the_graph_itself_is_answered_with_the_input(project: Project) -> None:
    waits = project.sidecar("run", "asker", "--input", "in.json", "--thread", "t", "--json")
    answered = project.sidecar("run", "asker", "--thread", "t", "--resume", "--input", "-", given='"Ada"')

    assert (4, [{"question": "your name?"}]) == (waits.code, [q["value"] for q in waits.json["questions"]])
    assert (0, {"n": 2, "name": "Ada"}) == (answered.code, answered.json)


def test_a_refusal_is_exit_code_3_with_its_reason(project: Project) -> None:
    ended = project.sidecar("run", "./agent.py:refusing", "--input", "in.json", "--json")

    assert (3, "refused") == (ended.code, ended.json["status"])
    assert ended.line.startswith("refused (")


def test_a_failing_node_is_exit_code_5_and_one_line(project: Project) -> None:
    ended = project.sidecar("run", "./agent.py:failing", "--input", "in.json", "--thread", "t", "--json")

    assert (5, "failed") == (ended.code, ended.json["status"])
    assert "error: ValueError: the first line the second; SIDECAR_DEBUG=1 shows where" == ended.line
    assert "run.ended" == kinds(project, "t")[-1]


def test_the_traceback_is_there_for_who_asks(project: Project) -> None:
    assert "Traceback" in project.sidecar("--debug", "run", "./agent.py:failing", "--input", "in.json").err


def test_a_graph_keeps_its_own_durable_checkpointer(project: Project) -> None:
    """One that serves only sync code is driven by sync code."""
    project.write(
        "own.py",
        "import sqlite3\nfrom langgraph.checkpoint.sqlite import SqliteSaver\nfrom agent import add, ask, chain\n"
        "saver = SqliteSaver(sqlite3.connect('own.db', check_same_thread=False))\n"
        "graph = chain(add, ask).compile(checkpointer=saver)\n",
    )
    waits = project.sidecar("run", "./own.py:graph", "--input", "in.json", "--thread", "t")
    answered = project.sidecar("run", "./own.py:graph", "--thread", "t", "--resume", "--input", "-", given='"Ada"')

    assert (4, 0, False) == (waits.code, answered.code, (project.path / ".sidecar/checkpoints.db").exists())


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["agnt", "--input", "in.json"], "did you mean 'agent'?"),
        (["./agent.py:grph", "--input", "in.json"], "did you mean 'graph'?"),
        (["./agnt.py:graph", "--input", "in.json"], "did you mean './agent.py'?"),
        (["./agent.py:not_a_graph", "--input", "in.json"], "expected a graph at ./agent.py:not_a_graph, got int"),
        (["no.such.module:graph", "--input", "in.json"], "No module named 'no'"),
        (["agent"], "expected --input FILE"),
        (["agent", "--input", "none.json"], "expected a JSON file at none.json, found nothing"),
        (["agent", "--input", "cut.json"], "cut.json is not JSON"),
        (["agent", "--input", "list.json"], "expected an object with n, name, got [1]"),
        (["agent", "--input", "typo.json"], "the graph takes no 'nmae'; did you mean 'name'?"),
        (["agent", "--input", "binary.json"], "cannot be read as text"),
        (["agent", "--resume"], "--resume needs the thread"),
        (["agent", "--resume", "--thread", "never"], "thread 'never' has no checkpoint"),
        (["agent", "--inptu", "in.json"], "see `sidecar run --help`"),
        (["./agent.py:approving", "--input", "in.json", "--ledger", "in.json/x"], "cannot be written"),
        (["agent", "--input", "in.json", "--checkpoint", "in.json/x"], "no checkpoints can be kept in in.json/x"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(project: Project, args: list[str], expected: str) -> None:
    project.write("cut.json", '{"n":')
    project.write("list.json", "[1]")
    project.write("typo.json", '{"nmae": "x"}')
    (project.path / "binary.json").write_bytes(b"\xff\xfe\x00")

    ended = project.sidecar("run", *args)

    assert ended.code in (2, 5)
    assert expected in ended.err.strip().splitlines()[-1]
    assert "Traceback" not in ended.err


def test_a_model_as_state_judges_its_input_before_anything_runs(project: Project) -> None:
    project.write(
        "strict.py",
        "from pydantic import BaseModel\nfrom langgraph.graph import StateGraph\n"
        "class S(BaseModel):\n    n: int\n"
        "b = StateGraph(S)\nb.add_node('a', lambda s: {})\nb.set_entry_point('a')\ngraph = b.compile()\n",
    )

    ended = project.sidecar("run", "./strict.py:graph", "--input", "-", given='{"n": "many"}')

    assert (2, True) == (ended.code, ended.line.startswith("error: n: Input should be a valid integer"))


def test_a_ledger_that_the_graph_would_not_use_is_refused(project: Project) -> None:
    project.write(
        "apart.py",
        "from agent import add, chain\nfrom governance import Sidecar, govern\n"
        "graph = govern(chain(add).compile(), sidecar=Sidecar(ledger='apart.db'))\n",
    )

    ended = project.sidecar("run", "./apart.py:graph", "--input", "in.json", "--ledger", "other.db")

    assert (2, True) == (ended.code, "brings a Sidecar of its own on apart.db; leave --ledger out" in ended.line)


def test_options_that_lead_to_the_files_are_printed_again(project: Project) -> None:
    args: dict[str, Any] = {"--ledger": "here/l.db", "--checkpoint": "here/c.db"}
    flags = [word for pair in args.items() for word in pair]

    waits = project.sidecar("run", "./agent.py:approving", "--input", "in.json", "--thread", "t", "--json", *flags)
    again = waits.json["resume"].split()[1:]
    decided = project.sidecar("approvals", "approve", "--by", "alice", "--ledger", "here/l.db")

    assert (4, 0, 0) == (waits.code, decided.code, project.sidecar(*again).code)
