"""Effects of sessions whose process is killed: each happens once, and the session goes on with what happened."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt

from governance import Approval, Contract, Sidecar, SideEffect, Tool, declares, govern, operator
from governance.errors import EffectInDoubt
from governance.plane.control import Control
from governance.plane.ledger import Ledger
from governance.plane.parked import settle, waiting
from tests.attacks.answers import ALICE, CONFIG
from tests.fixtures import State, calling

MAY = {"*": Contract(tools=["pay"]), "*/*": Contract(tools=["pay"])}
LEASE = 0.5
Build = Callable[[Any], StateGraph[Any, Any, Any, Any]]


class Bank:
    """Its books are a file: what was paid stands there whatever became of the payer."""

    def __init__(self, path: Path, **effect: Any) -> None:
        self.path = path
        self.dies: Literal["before", "after", "never"] = "never"
        looks = {"reconcile": self.found} if effect.pop("looks", True) else {}

        @declares(SideEffect("external", **looks, **effect))
        @tool
        def pay(amount: int) -> str:
            """Pay."""
            die(self.dies == "before")
            with path.open("a") as books:
                books.write(f"{amount}\n")
            die(self.dies == "after")
            return f"paid {amount}"

        self.pay: BaseTool = pay

    @property
    def paid(self) -> list[int]:
        return [int(line) for line in self.path.read_text().split()] if self.path.exists() else []

    def found(self, args: Any) -> str | None:
        return f"paid {args['amount']}" if args["amount"] in self.paid else None


class Runs:
    """One session on files: what runs in a process that is killed, and what runs in the next one."""

    def __init__(
        self,
        folder: Path,
        build: Callable[[], Any],
        durability: Literal["sync", "async", "exit"] = "sync",
        contracts: Mapping[str, Contract] = MAY,
    ) -> None:
        self.folder, self.build, self.durability, self.contracts = folder, build, durability, contracts

    def on(self, given: Any, config: Any = None) -> Any:
        """A process that lives: it closes what it opened."""
        with SqliteSaver.from_conn_string(str(self.folder / "checkpoints.db")) as saver:
            with closing(Sidecar(ledger=self.folder / "ledger.db")) as sidecar:
                sidecar.effects.lease = LEASE
                graph = govern(self._compiled(saver), contracts=self.contracts, sidecar=sidecar)
                return graph.invoke(given, config or CONFIG, durability=self.durability)

    def _compiled(self, saver: Any) -> Any:
        """Of a builder, or of a function that needs the saver itself."""
        made = self.build()
        return made.compile(checkpointer=saver, name="jobs") if isinstance(made, StateGraph) else made(saver)

    def killed(self, given: Any) -> None:
        """A process that somebody or something kills at work."""
        self.killed_by(lambda: self.on(given))

    def killed_by(self, work: Callable[[], Any]) -> None:
        child = os.fork()
        if child == 0:
            try:
                work()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "nobody killed it"

    def again(self, from_step: str) -> Any:
        """Rewound by an operator to where this node comes next, and run on from there."""
        with SqliteSaver.from_conn_string(str(self.folder / "checkpoints.db")) as saver:
            graph = self._compiled(saver)
            (earlier, *_) = (one for one in graph.get_state_history(CONFIG) if from_step in one.next)
        with operator("ann", reason="to see it again"):
            return self.on(None, earlier.config)

    @property
    def control(self) -> Any:
        return Sidecar(ledger=self.folder / "ledger.db").control


def die(now: bool = True) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def moody() -> GenericFakeChatModel:
    """Asks to pay another amount each time it is asked."""
    said = (calling(("pay", {"amount": random.randrange(10**9)})) for _ in itertools.count())
    return GenericFakeChatModel(messages=said)


def line(**nodes: Any) -> Any:
    builder, before = StateGraph(State), START
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    yield Bank(tmp_path / "books")


def asking_and_paying(bank: Bank, then: Callable[[], Any] = lambda: None) -> Any:
    """A node that asks a model and pays what it says."""

    def node(state: Any) -> Any:
        said = bank.pay.invoke(moody().invoke("how much?").tool_calls[0]["args"])
        then()
        return {"out": said}

    return node


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("dies", ["before", "after"])
def test_an_effect_that_can_be_looked_up_is_made_once_and_its_session_goes_on(
    dies: Any, durability: Any, bank: Bank, tmp_path: Path
) -> None:
    """The model that is asked again would ask for another amount."""
    runs = Runs(tmp_path, lambda: line(n=asking_and_paying(bank)), durability)
    bank.dies = dies
    runs.killed({"out": ""})
    bank.dies = "never"
    said = runs.on(None)["out"]

    assert [f"paid {amount}" for amount in bank.paid] == [said]


def test_the_outcome_of_an_effect_outlives_the_process_that_had_it(bank: Bank, tmp_path: Path) -> None:
    runs = Runs(tmp_path, lambda: line(n=asking_and_paying(bank, lambda: die(len(bank.paid) == 1 and fresh(tmp_path)))))
    runs.killed({"out": ""})
    said = runs.on(None)["out"]

    assert [f"paid {amount}" for amount in bank.paid] == [said]


def fresh(folder: Path) -> bool:
    """True for the first who asks, in whatever process."""
    try:
        (folder / "asked").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@pytest.mark.parametrize("finding", ["happened", "may-happen"])
def test_what_cannot_be_looked_up_waits_for_a_person_and_then_goes_on(finding: Any, tmp_path: Path) -> None:
    bank = Bank(tmp_path / "books", looks=False)
    runs = Runs(tmp_path, lambda: line(n=asking_and_paying(bank)))
    bank.dies = "after" if finding == "happened" else "before"
    runs.killed({"out": ""})
    bank.dies = "never"
    with pytest.raises(EffectInDoubt):
        runs.on(None)
    with closing(runs.control) as control:
        (parked,) = waiting(control)
        settle(control, parked.id, finding, outcome=f"paid {bank.paid[0]}" if bank.paid else None)
    said = runs.on(None)["out"]

    assert [f"paid {amount}" for amount in bank.paid] == [said]


def agent(bank: Bank, after_answer: Callable[[], None] = lambda: None) -> Any:
    """A model in one node, its tools in the next, and nothing between them but a checkpoint."""
    builder = StateGraph(State)
    builder.add_node("agent", lambda state: {"messages": [moody().invoke("how much?")]})
    builder.add_node("between", lambda state: after_answer())
    builder.add_node("tools", ToolNode([bank.pay], handle_tool_errors=False))
    for before, after in itertools.pairwise((START, "agent", "between", "tools")):
        builder.add_edge(before, after)
    return builder


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_tool_node_goes_on_with_what_was_looked_up(dies: Any, bank: Bank, tmp_path: Path) -> None:
    runs = Runs(tmp_path, lambda: agent(bank))
    bank.dies = dies
    runs.killed({"messages": []})
    bank.dies = "never"
    said = runs.on(None)["messages"][-1]

    assert ([f"paid {amount}" for amount in bank.paid], "tool") == ([said.content], said.type)


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


def test_a_killed_branch_repeats_nothing_of_its_neighbours(bank: Bank, tmp_path: Path) -> None:
    def branch(state: Any) -> Any:
        said = asking_and_paying(bank)({})["out"]
        if state["amount"] == 1:
            time.sleep(0.2)
            die(fresh(tmp_path))
        return {"log": [said]}

    def build() -> Any:
        builder = StateGraph(State)
        builder.add_node("n", branch)
        builder.add_conditional_edges(START, lambda state: [Send("n", {"amount": n}) for n in range(3)], ["n"])
        return builder

    runs = Runs(tmp_path, build, "async")
    runs.killed({"out": ""})

    assert sorted(runs.on(None)["log"]) == sorted(f"paid {amount}" for amount in bank.paid)
    assert 3 == len(bank.paid)


def test_an_answer_to_a_question_that_comes_to_another_process_repeats_nothing(bank: Bank, tmp_path: Path) -> None:
    """The effect stands before the question in its node, so the node runs it again."""
    runs = Runs(tmp_path, lambda: line(n=asking_and_paying(bank, lambda: interrupt("right?"))))
    runs.on({"out": ""})
    said = runs.on(Command(resume="yes"))["out"]

    assert [f"paid {amount}" for amount in bank.paid] == [said]


class LateSaver(SqliteSaver):
    """A saver that takes its time, as one does on a busy disk."""

    def put(self, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.3)
        return super().put(*args, **kwargs)


def test_an_effect_waits_for_the_checkpoint_it_began_from(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the node before it would run again after the kill, and route elsewhere."""
    monkeypatch.setattr("tests.attacks.test_effects_killed.SqliteSaver", LateSaver)
    runs = Runs(tmp_path, lambda: agent(bank), "async")
    bank.dies = "after"
    runs.killed({"messages": []})
    with SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as saver:
        stored = [one.metadata["step"] for one in saver.list(CONFIG)]

    assert 2 in stored


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
    node = lambda state: {"out": bank.pay.invoke({"amount": 5})}  # noqa: E731
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
