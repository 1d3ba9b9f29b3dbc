"""Budgets hold for several processes at once, for whatever is nested, and for every answer that is asked for."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langgraph.func import task
from langgraph.graph import START, StateGraph

from governance import Contract, Policy, Sidecar, govern
from governance.errors import BudgetExceeded
from governance.policy import BudgetPolicy

POLICY = Policy(budget=BudgetPolicy(session_tokens=600, answer_tokens=60))
THREAD = {"configurable": {"thread_id": "t"}}
FIFTY = "word " * 50
"""With its prompt some sixty tokens."""


class State(TypedDict):
    out: str


def wordy() -> Any:
    usage = UsageMetadata(input_tokens=10, output_tokens=50, total_tokens=60)
    return GenericFakeChatModel(messages=(AIMessage(FIFTY, usage_metadata=usage) for _ in itertools.count()))


def spending(worker: Sidecar, policy: Policy = POLICY) -> Any:
    model = wordy()
    node = lambda state: {"out": str(model.invoke("hi").content)}
    graph = StateGraph(State).add_node("n", node).add_edge(START, "n").compile()
    return govern(graph, contracts={"n": Contract()}, policy=policy, sidecar=worker)


def spend(graph: Any, times: int) -> int:
    for done in range(times):
        try:
            graph.invoke({"out": ""}, THREAD)
        except BudgetExceeded:
            return done
    return times


def recorded(path: Path) -> int:
    db = sqlite3.connect(path)
    try:
        return int(db.execute("SELECT tokens FROM heads WHERE session='t'").fetchone()[0])
    finally:
        db.close()


@pytest.fixture
def worker(tmp_path: Path) -> Any:
    """Makes Sidecars on the same files, as several processes would have them."""
    made: list[Sidecar] = []

    def make() -> Sidecar:
        made.append(Sidecar(ledger=tmp_path / "l.db"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_workers_that_take_turns_spend_one_budget(worker: Callable[[], Sidecar], tmp_path: Path) -> None:
    graphs = [spending(worker()) for _ in range(2)]

    with pytest.raises(BudgetExceeded):
        for turn in range(20):
            graphs[turn % 2].invoke({"out": ""}, THREAD)

    last = worker()
    assert 0 == spend(spending(last), 1)
    assert recorded(tmp_path / "l.db") <= 600


def test_workers_that_ask_at_once_spend_one_budget(worker: Callable[[], Sidecar], tmp_path: Path) -> None:
    workers = [worker() for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: spend(spending(one), 10), workers))
    for one in workers:
        one.ledger.flush()

    assert 400 < recorded(tmp_path / "l.db") <= 600


def process(path: Path) -> None:
    own = Sidecar(ledger=path)
    spend(spending(own), 10)
    own.close()


def test_processes_spend_one_budget(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    running = [spawn.Process(target=process, args=(tmp_path / "l.db",)) for _ in range(3)]
    for one in running:
        one.start()
    for one in running:
        one.join(60)

    assert [0, 0, 0] == [one.exitcode for one in running]
    assert 400 < recorded(tmp_path / "l.db") <= 600


def test_a_lost_control_file_does_not_reset_a_budget(worker: Callable[[], Sidecar], tmp_path: Path) -> None:
    first = worker()
    spend(spending(first), 20)
    first.close()
    for file in tmp_path.glob("control.db*"):
        file.unlink()

    assert 0 == spend(spending(worker()), 1)


def test_what_a_graph_without_a_budget_spent_counts(worker: Callable[[], Sidecar]) -> None:
    first = worker()
    spend(spending(first, Policy()), 12)
    first.ledger.flush()

    assert 0 == spend(spending(worker()), 1)


def test_a_call_that_is_refused_here_costs_the_session_nothing(worker: Callable[[], Sidecar]) -> None:
    one = worker()
    model = wordy()
    graph = StateGraph(State).add_node("n", lambda s: {"out": str(model.invoke("hi").content)}).add_edge(START, "n")
    govern(compiled := graph.compile(), contracts={"n": Contract(tokens=10)}, policy=POLICY, sidecar=one)

    assert 0 == spend(compiled, 1)

    assert 8 <= spend(spending(one), 20)


# ---- allowances ------------------------------------------------------------------------------------------------


def ten_times(model: Any) -> Any:
    return lambda state: {"out": "".join(str(model.invoke("hi").content) for _ in range(10))}


def test_an_allowance_binds_the_graph_that_a_node_is(sidecar: Sidecar, line: Any) -> None:
    agent = line(ask=ten_times(wordy()))
    contracts = {"research": Contract(tokens=100), "research/*": Contract()}
    graph = govern(line(research=agent), contracts=contracts, policy=POLICY, sidecar=sidecar)

    with pytest.raises(BudgetExceeded, match="research has 40 of 100 left"):
        graph.invoke({"out": ""})


def test_an_allowance_is_shared_by_everything_nested(sidecar: Sidecar, line: Any) -> None:
    """Each of the nodes inside keeps to its own, wider allowance; together they pass that of the one above."""
    model = wordy()
    ask = lambda state: {"out": str(model.invoke("hi").content)}
    agent = line(first=ask, second=line(deep=ask), third=ask)
    contracts = {"research": Contract(tokens=150), "research/*": Contract(tokens=90)}
    graph = govern(line(research=agent), contracts=contracts, policy=POLICY, sidecar=sidecar)

    with pytest.raises(BudgetExceeded, match="research has 30 of 150 left"):
        graph.invoke({"out": ""})


def test_an_allowance_binds_the_tasks_of_a_node(sidecar: Sidecar, one: Any) -> None:
    model = wordy()

    @task
    def ask() -> str:
        return str(model.invoke("hi").content)

    graph = one(lambda s: {"out": "".join(ask().result() for _ in range(5))})
    govern(graph, contracts={"n": Contract(tokens=100), "n/ask": Contract()}, policy=POLICY, sidecar=sidecar)

    with pytest.raises(BudgetExceeded, match="n has 40 of 100 left"):
        graph.invoke({"out": ""})


# ---- several answers -------------------------------------------------------------------------------------------


class Wordy(LLM):
    """A completion model that says much to everything."""

    asked: list[str] = []  # noqa: RUF012 - a pydantic field
    n: int = 1

    @property
    def _llm_type(self) -> str:
        return "wordy"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        self.asked.append(prompt)
        return "word " * 90


MANY: dict[str, Callable[[Any], Any]] = {
    "batch": lambda m: m.batch(["hi"] * 50),
    "abatch": lambda m: asyncio.run(m.abatch(["hi"] * 50)),
    "generate": lambda m: m.generate(["hi"] * 50),
    "several to one prompt": lambda m: m.invoke("hi", n=50),
    "the model's own number": lambda m: Wordy(asked=m.asked, n=50).invoke("hi"),
}


@pytest.mark.parametrize("way", list(MANY))
def test_every_answer_that_is_asked_for_is_reserved(way: str, sidecar: Sidecar, one: Any) -> None:
    model = Wordy(asked=[])
    policy = Policy(budget=BudgetPolicy(answer_tokens=100))
    graph = one(lambda s: {"out": str(MANY[way](model))})
    govern(graph, contracts={"n": Contract(tokens=500)}, policy=policy, sidecar=sidecar)

    with pytest.raises(BudgetExceeded):
        graph.invoke({"out": ""})

    assert [] == model.asked
