"""`sidecar effects`: a person finds out whether an effect happened, and the session goes on."""

from __future__ import annotations

import pytest

from tests.governance.cli.conftest import Project

PAYS = """
from typing import TypedDict

from langchain_core.tools import tool
from langgraph.graph import StateGraph

from governance import Contract, Sidecar, SideEffect, declares, govern


class State(TypedDict, total=False):
    n: int
    out: str


@declares(SideEffect("external", key="pay:{order}"))
@tool
def pay(order: str) -> str:
    \"\"\"Pays; the line is cut the first time.\"\"\"
    with open("paid.txt", "a") as book:
        print(order, file=book)
    if len(open("paid.txt").readlines()) == 1:
        raise ConnectionError("cut off")
    return "paid"


def node(state):
    return {"out": pay.invoke({"order": "4711"})}


builder = StateGraph(State)
builder.add_node("n", node)
builder.set_entry_point("n")
graph = govern(builder.compile(), contracts={"n": Contract(tools=["pay"])}, sidecar=Sidecar())
"""
RUN = ("run", "./pays.py:graph", "--input", "in.json", "--thread", "t")


@pytest.fixture
def cut_off(project: Project) -> Project:
    """A project whose session was cut off in the middle of a payment."""
    project.write("pays.py", PAYS)
    project.sidecar(*RUN)
    return project


def test_a_session_cut_off_in_an_effect_goes_on_once_a_person_has_looked(cut_off: Project) -> None:
    (waits,) = cut_off.sidecar("effects", "list", "--json").json
    again = cut_off.sidecar(*RUN)
    cut_off.sidecar(
        "effects", "settle", waits["id"], "happened", "--outcome", '"seen in the bank"', "--reason", "I looked"
    )  # fmt: skip

    assert ("pay", "t", "pay:4711", {"order": "4711"}) == (
        waits["tool"], waits["session"], waits["known_as"], waits["began_with"],
    )  # fmt: skip
    assert (3, True) == (again.code, f"sidecar effects settle {waits['id']}" in again.err)
    assert "seen in the bank" in cut_off.sidecar(*RUN, "--json").out
    assert "4711\n" == (cut_off.path / "paid.txt").read_text()


def test_an_effect_that_did_not_happen_is_done_when_the_session_is_run_again(cut_off: Project) -> None:
    (waits,) = cut_off.sidecar("effects", "list", "--json").json
    cut_off.sidecar("effects", "settle", waits["id"][:5], "may-happen", "--reason", "the bank knows nothing of it")

    assert 0 == cut_off.sidecar(*RUN).code
    assert "4711\n4711\n" == (cut_off.path / "paid.txt").read_text()


def test_who_settled_it_and_why_is_on_record(cut_off: Project) -> None:
    (waits,) = cut_off.sidecar("effects", "list", "--json").json
    cut_off.sidecar("effects", "settle", waits["id"], "happened", "--reason", "I looked", "--by", "ann")

    line = next(line for line in cut_off.sidecar("ledger", "show", "t").out.splitlines() if "effect.settled" in line)
    assert [True, True] == ["local:ann" in line, "I looked" in line]


def test_an_effect_is_shown_whole(cut_off: Project) -> None:
    (waits,) = cut_off.sidecar("effects", "list", "--json").json

    assert "sidecar ledger explain --effect pay t" in cut_off.sidecar("effects", "show", waits["id"]).out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["settle", "ID", "happened"], "settling needs --reason TEXT"),
        (["settle", "ID", "may-happen", "--reason", "x", "--outcome", "1"], "has no --outcome"),
        (["settle", "ID", "happened", "--reason", "x", "--outcome", "paid"], "--outcome must be JSON"),
        (["settle", "nothing", "happened", "--reason", "x"], "expected one waiting effect with the id 'nothing'"),
        (["settle", "ID", "perhaps", "--reason", "x"], "perhaps"),
    ],
)
def test_what_cannot_be_done_says_why_and_settles_nothing(args: list[str], expected: str, cut_off: Project) -> None:
    (waits,) = cut_off.sidecar("effects", "list", "--json").json
    ended = cut_off.sidecar("effects", *(waits["id"] if arg == "ID" else arg for arg in args))

    assert (True, True) == (ended.code != 0, expected in ended.err)
    assert 1 == len(cut_off.sidecar("effects", "list", "--json").json)


def test_nothing_waits_in_a_new_project(project: Project) -> None:
    assert "no effect waits\n" == project.sidecar("effects", "list").out
