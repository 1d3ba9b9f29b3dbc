"""Sessions that are run on from an earlier checkpoint, and killed on the way, repeat nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from tests.attacks.bank import Bank, Runs, agent, asking_and_paying, die, fresh, line
from tests.fixtures import State


def test_an_answer_that_a_killed_process_checkpointed_is_said_again_in_a_fork(bank: Bank, tmp_path: Path) -> None:
    """The process that made the effect never heard the model; a rewind to before the answer asks it again."""
    runs = Runs(tmp_path, lambda: agent(bank, lambda: die(fresh(tmp_path))))
    runs.killed({"messages": []})
    first = runs.on(None)["messages"][-1].content
    second = runs.again("agent")["messages"][-1].content

    assert [f"paid {amount}" for amount in bank.paid] == [first]
    assert first == second


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("step", ["a", "n", "__start__"])
def test_a_rewind_repeats_nothing(step: str, durability: Any, bank: Bank, tmp_path: Path) -> None:
    """LangGraph counts the checkpoint that begins the new branch as a step; the place stays the same."""
    runs = Runs(tmp_path, lambda: line(a=lambda state: {}, n=asking_and_paying(bank)), durability)
    said = [runs.on({"out": ""})["out"], runs.again(step)["out"], runs.again(step)["out"]]

    assert [f"paid {amount}" for amount in bank.paid] == [said[0]]
    assert 1 == len(set(said))


def test_a_rewind_that_is_killed_and_run_on_repeats_nothing(bank: Bank, tmp_path: Path) -> None:
    deaths = tmp_path / "dies"

    def node(state: Any) -> None:
        die(deaths.exists() and deaths.unlink() is None)

    runs = Runs(tmp_path, lambda: line(a=lambda state: {}, b=node, n=asking_and_paying(bank)))
    runs.on({"out": ""})
    deaths.touch()
    runs.killed_by(lambda: runs.again("a"))
    runs.on(None)

    assert 1 == len(bank.paid)


def test_a_rewind_that_is_killed_in_a_nested_graph_repeats_nothing(bank: Bank, tmp_path: Path) -> None:
    """The checkpoint of the nested graph is read by another process than wrote it."""
    deaths = tmp_path / "dies"

    def node(state: Any) -> Any:
        die(deaths.exists() and deaths.unlink() is None)
        return asking_and_paying(bank)(state)

    inner = line(x=lambda state: {}, y=node).compile()
    runs = Runs(tmp_path, lambda: line(a=lambda state: {}, g=inner))
    first = runs.on({"out": ""})
    deaths.touch()
    runs.killed_by(lambda: runs.again("a"))
    second = runs.on(None)

    assert 1 == len(bank.paid)
    assert first == second


def test_a_rewind_repeats_nothing_in_a_nested_graph_and_in_branches(bank: Bank, tmp_path: Path) -> None:
    def build() -> Any:
        builder = StateGraph(State)
        builder.add_node("a", lambda state: {})
        builder.add_node("n", lambda state: {"log": [asking_and_paying(bank)(state)["out"]]})
        builder.add_node("g", line(x=lambda state: {}, y=asking_and_paying(bank)).compile())
        builder.add_edge(START, "a")
        builder.add_conditional_edges("a", lambda state: [Send("n", {"amount": n}) for n in range(3)], ["n"])
        builder.add_edge("n", "g")
        return builder

    runs = Runs(tmp_path, build)
    first, second = runs.on({"out": ""}), runs.again("a")

    assert 4 == len(bank.paid)
    assert first == second
