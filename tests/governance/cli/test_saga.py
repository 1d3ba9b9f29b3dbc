"""`sidecar saga`: a person undoes a session, and settles what could not be undone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.governance.cli.conftest import Project

SHOP = """
from typing import TypedDict

from langchain_core.tools import tool
from langgraph.graph import StateGraph

from governance import Contract, Policy, Sidecar, SideEffect, declares, govern
from governance.policy_saga import SagaPolicy


class State(TypedDict, total=False):
    n: int


def note(line):
    with open("book.txt", "a") as book:
        print(line, file=book)


@declares(SideEffect("external", key="pay:{order}", undo=lambda args, outcome: note(f"undo {outcome}")))
@tool
def pay(order: str) -> str:
    \"\"\"Pay.\"\"\"
    note("paid")
    return "paid"


@declares(SideEffect("external"))
@tool
def mail(to: str) -> str:
    \"\"\"Write a mail.\"\"\"
    note("mailed")
    return "mailed"


def node(state):
    pay.invoke({"order": "4711"})
    mail.invoke({"to": "ann"})
    raise ValueError("the last step failed")


def plain(state):
    pay.invoke({"order": "1"})
    raise ValueError("the last step failed")


def governed(node, name, on):
    builder = StateGraph(State)
    builder.add_node("n", node)
    builder.set_entry_point("n")
    return govern(
        builder.compile(name=name),
        contracts={"n": Contract(tools=["pay", "mail"])},
        policy=Policy(saga=SagaPolicy(on=on)),
        sidecar=Sidecar(),
    )


graph = governed(node, "shop", ("failed",))
patient = governed(plain, "patient", ())
"""
RUN = ("--input", "in.json", "--thread", "t")


@pytest.fixture
def shop(project: Project) -> Project:
    project.write("shop.py", SHOP)
    return project


@pytest.fixture
def parked(shop: Project) -> Project:
    """A project whose session failed: its payment was undone, and its mail waits for a person."""
    shop.sidecar("run", "./shop.py:graph", *RUN)
    return shop


def waiting(project: Project) -> list[Any]:
    return list(project.sidecar("saga", "list", "--json").json["waiting"])


def test_a_failed_session_is_undone_and_what_stays_waits_with_its_facts(parked: Project) -> None:
    (waits,) = waiting(parked)

    assert ["paid", "mailed", "undo paid"] == (parked.path / "book.txt").read_text().splitlines()
    assert ("mail", "t", {"to": "ann"}, "mailed") == (waits["tool"], waits["session"], waits["args"], waits["outcome"])
    assert "declares no undo" in waits["why"]


def test_a_person_settles_it_and_says_why(parked: Project) -> None:
    (waits,) = waiting(parked)
    args = ("stands", "--reason", "she was told", "--by", "ann")
    said = parked.sidecar("saga", "settle", waits["id"][:6], *args).out

    assert "settled: mail stands; session t is undone\n" == said
    assert [] == waiting(parked)
    assert "ann: she was told" in parked.sidecar("saga", "show", "t").out
    line = next(one for one in parked.sidecar("ledger", "show", "t").out.splitlines() if "saga.settled" in one)
    assert [True, True] == ["local:ann" in line, "she was told" in line]


def test_a_session_is_shown_with_what_became_of_each_effect(parked: Project) -> None:
    shown = parked.sidecar("saga", "show", "t", "--json").json

    assert ("parked", "failed") == (shown["state"], shown["cause"])
    assert [("mail", "parked"), ("pay", "undone")] == [(one["tool"], one["state"]) for one in shown["effects"]]


def test_why_an_effect_is_not_in_force_any_more_is_explained(parked: Project) -> None:
    said = parked.sidecar("ledger", "explain", "t").out

    assert "The effect pay is not in force any more: it was taken back." in said
    assert "The effect mail could not be taken back, and waits for a person" in said


def test_a_session_is_undone_when_somebody_asks_for_it(shop: Project) -> None:
    shop.sidecar("run", "./shop.py:patient", *RUN)
    opened = shop.sidecar("saga", "list", "--json").json["open"]
    ended = shop.sidecar("saga", "undo", "t", "./shop.py:patient", "--reason", "given up", "--by", "ann")

    assert [{"session": "t", "graph": "patient", "effects": 1}] == opened
    assert (0, "session t: 1 of 1 effects undone\n") == (ended.code, ended.out)
    assert ["paid", "undo paid"] == (shop.path / "book.txt").read_text().splitlines()
    assert "asked, given up (local:ann)" in shop.sidecar("saga", "show", "t").out


def test_what_a_stop_held_back_is_gone_on_with(shop: Project) -> None:
    shop.sidecar("run", "./shop.py:patient", *RUN)
    shop.sidecar("stop", "all", "--reason", "an incident")
    held = shop.sidecar("saga", "undo", "t", "./shop.py:patient", "--reason", "given up")
    shop.sidecar("resume", "all")
    ended = shop.sidecar("saga", "resume", "./shop.py:patient")

    assert (5, True) == (held.code, "an incident" in held.line)
    assert (0, "session t: 1 of 1 effects undone\n") == (ended.code, ended.out)
    assert "nothing was cut off\n" == shop.sidecar("saga", "resume", "./shop.py:patient").out


def test_a_script_learns_that_a_person_is_needed(parked: Project) -> None:
    ended = parked.sidecar("saga", "undo", "t", "./shop.py:graph", "--reason", "look", "--json")

    assert (4, "parked") == (ended.code, ended.json[0]["state"])


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["undo", "t", "./shop.py:graph"], "undoing needs --reason TEXT"),
        (["undo", "u", "./shop.py:graph", "--reason", "x"], "has nothing to undo"),
        (["undo", "t", "./shop.py:patient", "--reason", "x"], "ran in the graph 'shop'"),
        (["resume", "./shop.py:graph", "u"], "no session 'u' of this graph was undone"),
        (["undo", "t", "agent", "--reason", "x"], "expected a governed graph"),
        (["show", "u"], "session 'u' was not undone"),
        (["settle", "ID", "stands"], "settling needs --reason TEXT"),
        (["settle", "ID", "perhaps", "--reason", "x"], "perhaps"),
        (["settle", "nothing", "stands", "--reason", "x"], "expected one effect with the id 'nothing'"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(args: list[str], expected: str, parked: Project) -> None:
    (waits,) = waiting(parked)
    ended = parked.sidecar("saga", *(waits["id"] if arg == "ID" else arg for arg in args))

    assert (True, True) == (ended.code != 0, expected in ended.err)
    assert 1 == len(waiting(parked))


def test_nothing_is_to_be_undone_in_a_new_project(project: Project) -> None:
    assert "no session has anything to undo\n" == project.sidecar("saga", "list").out
