"""Killed sessions of every kind, and those who come in their place: approvals, agents, tasks, other processes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

from governance import Approval, Contract, Sidecar, Tool
from governance.errors import EffectInDoubt
from governance.plane.control import Control
from governance.plane.ledger import Ledger
from governance.plane.parked import settle, waiting
from tests.attacks.answers import ALICE, CONFIG
from tests.attacks.bank import LEASE, Bank, Runs, agent, asking_and_paying, die, fresh, line
from tests.fixtures import calling


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_tool_node_goes_on_with_what_was_looked_up(dies: Any, bank: Bank, tmp_path: Path) -> None:
    runs = Runs(tmp_path, lambda: agent(bank))
    bank.dies = dies
    runs.killed({"messages": []})
    bank.dies = "never"
    said = runs.on(None)["messages"][-1]

    assert ([f"paid {amount}" for amount in bank.paid], "tool") == ([said.content], said.type)


def test_an_answer_to_a_question_that_comes_to_another_process_repeats_nothing(bank: Bank, tmp_path: Path) -> None:
    """The effect stands before the question in its node, so the node runs it again."""
    runs = Runs(tmp_path, lambda: line(n=asking_and_paying(bank, lambda: interrupt("right?"))))
    runs.on({"out": ""})
    said = runs.on(Command(resume="yes"))["out"]

    assert [f"paid {amount}" for amount in bank.paid] == [said]


@pytest.mark.parametrize("dies", ["before", "after"])
def test_an_approved_effect_is_looked_up_and_nobody_is_asked_twice(dies: Any, bank: Bank, tmp_path: Path) -> None:
    approved = {"n": Contract(tools=[Tool("pay", approval=Approval("money moves"))])}
    runs = Runs(tmp_path, lambda: line(n=asking_and_paying(bank)), contracts=approved)
    (card,) = runs.on({"out": ""})["__interrupt__"]
    with closing(Sidecar(ledger=tmp_path / "ledger.db")) as sidecar:
        sidecar.approvals.decide(card.id, "approve", by=ALICE)
    bank.dies = dies
    runs.killed(None)
    bank.dies = "never"
    ended = runs.on(None)

    assert "__interrupt__" not in ended
    assert [card.value["what"]["args"]["amount"]] == bank.paid
    assert f"paid {bank.paid[0]}" == ended["out"]


def test_a_session_that_three_processes_run_on_makes_one_effect(bank: Bank, tmp_path: Path) -> None:
    runs = Runs(tmp_path, lambda: line(q=lambda state: {"other": interrupt("go?")}, n=asking_and_paying(bank)))
    runs.on({"out": ""})
    children = []
    for _ in range(3):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                with suppress(EffectInDoubt):
                    runs.on(Command(resume="yes"))
            finally:
                os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    with suppress(EffectInDoubt):
        runs.on(None)

    assert 1 == len(bank.paid)


@pytest.mark.parametrize("looks", [True, False])
def test_another_session_takes_over_what_a_killed_one_began(looks: bool, tmp_path: Path) -> None:
    """By the business key; where it cannot look, it waits for the person that the first one waits for too."""
    bank = Bank(tmp_path / "books", looks=looks, key="refund")
    bank.dies = "after"
    node = lambda state: {"out": bank.pay.invoke({"amount": 5})}
    runs, other = Runs(tmp_path, lambda: line(n=node)), {"configurable": {"thread_id": "other"}}
    runs.killed({"out": ""})
    bank.dies = "never"
    if not looks:
        for given, config in (({"out": ""}, other), (None, CONFIG)):
            with pytest.raises(EffectInDoubt):
                runs.on(given, config)
        with closing(runs.control) as control:
            (parked,) = waiting(control)
            settle(control, parked.id, "happened", outcome="paid 5")

    assert "paid 5" == runs.on(None if not looks else {"out": ""}, other)["out"] == runs.on(None)["out"]
    assert [5] == bank.paid


def test_tasks_of_a_killed_function_repeat_nothing(bank: Bank, tmp_path: Path) -> None:
    """LangGraph's functional way: tasks side by side, of which one ends with its process."""

    @task
    def one(number: int) -> str:
        said = asking_and_paying(bank)({})["out"]
        if number == 1:
            time.sleep(0.2)
            die(fresh(tmp_path))
        return str(said)

    def build(saver: Any) -> Any:
        @entrypoint(checkpointer=saver)
        def jobs(given: Any) -> list[str]:
            return [future.result() for future in [one(number) for number in range(3)]]

        return jobs

    runs = Runs(tmp_path, lambda: build, contracts={"*": Contract(tools=["pay"], waives=["unknown_keys", "types"])})
    runs.killed({"out": ""})

    assert sorted(runs.on(None)) == sorted(f"paid {amount}" for amount in bank.paid)
    assert 3 == len(bank.paid)


@pytest.mark.parametrize("dies", ["before", "after"])
def test_an_agent_goes_on_with_what_was_looked_up(dies: Any, bank: Bank, tmp_path: Path) -> None:
    def build(saver: Any) -> Any:
        class Agent(GenericFakeChatModel):
            def bind_tools(self, *args: Any, **kwargs: Any) -> Any:
                return self

        def said() -> Iterator[AIMessage]:
            if bank.paid and not fresh(tmp_path):
                yield AIMessage("done")
            yield calling(("pay", {"amount": random.randrange(10**9)}))
            yield AIMessage("done")

        return create_agent(Agent(messages=said()), [bank.pay], checkpointer=saver, name="jobs")

    fresh(tmp_path)
    runs = Runs(tmp_path, lambda: build)
    bank.dies = dies
    runs.killed({"messages": [("user", "pay")]})
    bank.dies = "never"
    runs.on(None)
    messages = runs.again("model")["messages"]

    assert 1 == len(bank.paid)
    assert [f"paid {bank.paid[0]}"] == [one.content for one in messages if one.type == "tool"]


def test_a_run_that_stores_nothing_before_its_end_finds_its_effects(bank: Bank, tmp_path: Path) -> None:
    """Durability "exit": the whole run begins again after the kill, and comes to the same places."""
    nodes = {"n": asking_and_paying(bank), "d": lambda state: die(fresh(tmp_path))}
    runs = Runs(tmp_path, lambda: line(**nodes), "exit")
    runs.killed({"out": ""})

    assert f"paid {bank.paid[0]}" == runs.on({"out": ""})["out"]
    assert 1 == len(bank.paid)


def test_who_was_stopped_in_front_of_its_effect_for_longer_than_its_lease_does_not_begin_it(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is paused, or a machine that is, wakes after another has looked, and has done it."""
    runs, flush = Runs(tmp_path, lambda: line(n=asking_and_paying(bank))), Ledger.flush

    def stopping(self: Ledger) -> None:
        flush(self)
        with closing(Control(tmp_path / "control.db")) as control:
            begun = control.rows("SELECT 1 FROM effects WHERE state = 'intent'")
        if begun and fresh(tmp_path):
            os.kill(os.getpid(), signal.SIGSTOP)

    child = os.fork()
    if child == 0:
        try:
            monkeypatch.setattr(Ledger, "flush", stopping)
            with suppress(EffectInDoubt):
                runs.on({"out": ""})
        finally:
            os._exit(0)
    _, status = os.waitpid(child, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    time.sleep(LEASE)
    runs.on(None)
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)

    assert 1 == len(bank.paid)
