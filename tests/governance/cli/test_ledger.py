"""`sidecar ledger`: people read the record, and the record proves itself."""

from __future__ import annotations

import json
import signal
import sqlite3

import pytest

from governance.plane.ledger import Ledger
from tests.governance.cli.conftest import Project


@pytest.fixture
def ledger(project: Project) -> Ledger:
    written = Ledger(project.path / "l.db")
    for number in range(4):
        written.record("a", f"tool.{'ended' if number % 2 else 'refused'}", actor="[red]", body={"i": number})
        written.record("b", "node.ended", body={"i": number})
    written.flush()
    return written


def bodies(out: str) -> list[int]:
    return [json.loads(line)["body"]["i"] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["a"], [0, 1, 2, 3]),
        (["a", "--limit", "2"], [2, 3]),
        (["--kind", "tool.refused"], [0, 2]),
        (["--kind", "*.ended", "--limit", "3"], [2, 3, 3]),
        (["nobody"], []),
    ],
)
def test_the_newest_events_that_fit_are_shown(
    project: Project, ledger: Ledger, args: list[str], expected: list[int]
) -> None:
    assert expected == bodies(project.sidecar("ledger", "show", *args, "--ledger", "l.db", "--json").out)


def test_what_a_row_says_is_not_markup(project: Project, ledger: Ledger) -> None:
    assert "a:1 tool.refused [red]" in project.sidecar("ledger", "show", "a", "--ledger", "l.db").out


def test_a_followed_ledger_goes_on_with_what_is_written(project: Project, ledger: Ledger) -> None:
    """Rows arrive while it runs; Ctrl-C ends it."""
    process = project.start("ledger", "show", "a", "--follow", "--limit", "1", "--json", "--ledger", "l.db")
    assert process.stdout is not None
    first = process.stdout.readline()
    ledger.record("b", "node.ended", body={"i": 40})
    ledger.record("a", "node.ended", body={"i": 41})
    ledger.flush()
    second = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert ([3, 41], 130, "") == (bodies(first + second), process.returncode, err)


def test_a_whole_ledger_is_exit_code_0(project: Project, ledger: Ledger) -> None:
    assert (0, "l.db: whole; 8 events in 2 sessions\n") == (
        (ended := project.sidecar("ledger", "verify", "--ledger", "l.db")).code,
        ended.out,
    )


def test_an_edited_ledger_is_exit_code_5_and_names_the_row(project: Project, ledger: Ledger) -> None:
    with sqlite3.connect("l.db") as db:
        db.execute("UPDATE events SET actor = 'x' WHERE session = 'a' AND n = 2")

    ended = project.sidecar("ledger", "verify", "--ledger", "l.db")
    found = project.sidecar("ledger", "verify", "--ledger", "l.db", "--json").json

    assert (5, True) == (ended.code, ended.out.startswith("a:2: was changed after it was written"))
    assert [("a", 2)] == [(p["session"], p["n"]) for p in found["problems"]]


def test_heads_it_printed_find_a_cut_tail_later(project: Project, ledger: Ledger) -> None:
    heads = project.sidecar("ledger", "verify", "--ledger", "l.db", "--json").json["heads"]
    with sqlite3.connect("l.db") as db:
        db.execute("DELETE FROM events WHERE session = 'a'")
        db.execute("DELETE FROM heads WHERE session = 'a'")

    flags = [word for head in heads for word in ("--head", head)]
    ended = project.sidecar("ledger", "verify", "--ledger", "l.db", *flags)

    assert (5, True) == (ended.code, "a: was known with 4 rows and is gone" in ended.out)


def test_anchors_kept_in_a_file_find_what_was_cut_later(project: Project, ledger: Ledger) -> None:
    """The newest group goes whole, its session and heads with it: the file itself cannot tell."""
    groups = []
    for _ in range(2):
        groups.append(project.sidecar("ledger", "anchor", "--ledger", "l.db").json["g"])
        assert 0 == project.sidecar("ledger", "anchor", "--ledger", "l.db", "--to", "kept/anchors").code
        ledger.record("c", "x")
        ledger.flush()
    with sqlite3.connect("l.db") as db:
        db.execute("DELETE FROM events WHERE session = 'c'")
        db.execute("DELETE FROM heads WHERE session = 'c'")
        db.execute("DELETE FROM groups WHERE g > ?", (groups[0],))
    check = ("ledger", "verify", "--ledger", "l.db")

    assert 0 == project.sidecar(*check).code
    ended = project.sidecar(*check, "--anchor", "kept/anchors")
    assert (5, True) == (ended.code, "its tail was cut" in ended.out)


def test_an_anchor_is_a_line_of_json(project: Project, ledger: Ledger) -> None:
    printed = project.sidecar("ledger", "anchor", "--ledger", "l.db").json

    assert project.sidecar("ledger", "verify", "--ledger", "l.db", "--json").json["anchor"] == printed


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["show"], 2, "no ledger at .sidecar/ledger.db"),
        (["verify"], 2, "no ledger at .sidecar/ledger.db"),
        (["show", "--ledger", "in.json"], 5, "cannot be read as a ledger"),
        (["verify", "--ledger", "in.json"], 5, "cannot be read as a ledger"),
        (["verify", "--ledger", "l.db", "--head", "a:b"], 2, "expected --head SESSION:N:HASH"),
        (["verify", "--ledger", "l.db", "--anchor", "in.json"], 5, "in.json:1 is no anchor"),
        (["verify", "--ledger", "l.db", "--anchor", "no"], 5, "the anchors in no cannot be read"),
        (["anchor"], 2, "no ledger at .sidecar/ledger.db"),
        (["export", "nobody", "--ledger", "l.db"], 2, "no rows of session 'nobody'"),
        (["explain", "a", "z", "--ledger", "l.db"], 2, "has no step 'z'"),
        (["explain", "--ledger", "l.db"], 2, "expected a SESSION, or --effect TOOL"),
        (["explain", "--effect", "pay", "--ledger", "l.db"], 2, "no call of pay"),
        (["explain", "--effect", "pay", "--arg", "x", "--ledger", "l.db"], 2, "expected --arg NAME=VALUE"),
        (["erase", "--ledger", "l.db"], 2, "expected a SESSION or --person ID"),
        (["erase", "nobody", "--ledger", "l.db"], 2, "the ledger has no session 'nobody'"),
        (["erase", "--person", "7", "--ledger", "l.db"], 2, "no session carries person '7'"),
        (["prune", "--older", "soon", "--ledger", "l.db"], 2, "--older: expected a time such as 90d"),
        (["archive", "--older", "1y", "--to", "l.db", "--ledger", "l.db"], 5, "not an archive; name another file"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    project: Project, ledger: Ledger, args: list[str], code: int, expected: str
) -> None:
    ended = project.sidecar("ledger", *args)

    assert (code, True) == (ended.code, expected in ended.line)
