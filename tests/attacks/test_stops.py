"""The kill switch binds everything beneath what it names: nested graphs, tasks, models, tools inside tools."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.tools import tool
from langgraph.func import task

from governance import Contract, Sidecar, govern
from governance.errors import Halted, Refusal

Operator = tuple[Callable[[str, str], None], Callable[[Any], None]]


@pytest.fixture
def operator(sidecar: Sidecar) -> Operator:
    """Somebody who stops something as soon as a node waits for it, from a thread of their own."""
    asked, done = threading.Event(), threading.Event()

    def stops(scope: Any, name: str) -> None:
        def run() -> None:
            asked.wait(5)
            sidecar.control.stop(scope, name, reason="enough", by="alice")
            done.set()

        threading.Thread(target=run).start()

    def wait(state: Any = None) -> None:
        asked.set()
        done.wait(5)

    return stops, wait


def run(graph: Any, mode: str = "sync") -> None:
    graph.invoke({"out": ""}) if mode == "sync" else asyncio.run(graph.ainvoke({"out": ""}))


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("known_as", ["research", "payer"])
def test_a_stop_of_an_agent_stops_the_nodes_of_the_graph_that_it_is(
    known_as: str, mode: str, sidecar: Sidecar, till: Any, line: Any, operator: Operator
) -> None:
    stops, wait = operator
    agent = line(first=wait, second=lambda s: {"out": till.pay.invoke({"amount": 1})})
    contracts = {"research": Contract(role="payer"), "research/*": Contract(tools=["pay"])}
    graph = govern(line(research=agent), contracts=contracts, sidecar=sidecar)
    stops("agent", known_as)

    with pytest.raises(Halted):
        run(graph, mode)

    assert [] == till.done


@pytest.mark.parametrize("stopped", ["team", "team/research", "research"])
def test_a_stop_reaches_through_every_level(
    stopped: str, sidecar: Sidecar, till: Any, line: Any, operator: Operator
) -> None:
    stops, wait = operator
    agent = line(first=wait, second=lambda s: {"out": till.pay.invoke({"amount": 1})})
    graph = govern(line(team=line(research=agent)), contracts={"*": Contract(tools=["pay"])}, sidecar=sidecar)
    stops("agent", stopped)

    with pytest.raises(Halted):
        run(graph)

    assert [] == till.done


def test_a_stop_of_a_node_stops_its_tasks(sidecar: Sidecar, till: Any, one: Any, operator: Operator) -> None:
    stops, wait = operator

    @task
    def pay() -> Any:
        wait(None)
        return till.pay.invoke({"amount": 1})

    contracts = {"n": Contract(), "n/pay": Contract(tools=["pay"])}
    graph = govern(one(lambda s: {"out": pay().result()}), contracts=contracts, sidecar=sidecar)
    stops("agent", "n")

    with pytest.raises(Halted):
        run(graph)

    assert [] == till.done


def test_a_stop_of_a_tool_stops_what_the_tool_does_by_other_tools(
    sidecar: Sidecar, till: Any, one: Any, operator: Operator
) -> None:
    stops, wait = operator

    @tool
    def settle() -> str:
        """Settle."""
        wait(None)
        return str(till.pay.invoke({"amount": 1}))

    contracts = {"n": Contract(tools=["settle", "pay"])}
    graph = govern(one(lambda s: {"out": settle.invoke({})}), contracts=contracts, sidecar=sidecar)
    stops("tool", "settle")

    with pytest.raises(Halted):
        run(graph)

    assert [] == till.done


def test_a_stop_of_a_tool_stops_the_graph_that_the_tool_runs(
    sidecar: Sidecar, till: Any, one: Any, line: Any, operator: Operator
) -> None:
    stops, wait = operator
    agent = line(first=wait, second=lambda s: {"out": till.pay.invoke({"amount": 1})})

    @tool
    def delegate() -> str:
        """Delegate."""
        return str(agent.invoke({"out": ""})["out"])

    contracts = {"n": Contract(tools=["delegate"]), "n/*": Contract(tools=["pay"])}
    graph = govern(one(lambda s: {"out": delegate.invoke({})}), contracts=contracts, sidecar=sidecar)
    stops("tool", "delegate")

    with pytest.raises(Halted):
        run(graph)

    assert [] == till.done


def test_a_stop_of_an_agent_stops_the_models_it_asks_deep_inside(
    sidecar: Sidecar, line: Any, rows: Any, operator: Operator
) -> None:
    stops, wait = operator
    model = FakeListChatModel(responses=["said"])

    def ask(state: Any) -> Any:
        wait(None)
        return {"out": model.invoke("hi").content}

    graph = govern(line(research=line(ask=ask)), contracts={"*": Contract()}, sidecar=sidecar)
    stops("agent", "research")

    with pytest.raises(Halted):
        run(graph)

    assert [] == rows("model.ended")


def test_a_stop_binds_a_nested_graph_that_is_on_another_record(
    sidecar: Sidecar, till: Any, line: Any, operator: Operator, tmp_path: Path
) -> None:
    """A graph with a Sidecar of its own has another control file; what it runs in may be stopped by this one."""
    stops, wait = operator
    theirs = Sidecar(ledger=tmp_path / "theirs" / "ledger.db")
    agent = line(first=wait, second=lambda s: {"out": till.pay.invoke({"amount": 1})})
    agent = govern(agent, contracts={"*": Contract(tools=["pay"])}, sidecar=theirs)
    graph = govern(line(research=agent), contracts={"research": Contract()}, sidecar=sidecar)
    stops("agent", "research")

    with pytest.raises(Halted):
        run(graph)

    assert [] == till.done
    theirs.close()


def test_a_stop_of_a_neighbour_stops_nobody_else(sidecar: Sidecar, till: Any, line: Any, operator: Operator) -> None:
    stops, wait = operator
    agent = line(first=wait, second=lambda s: {"out": till.pay.invoke({"amount": 1})})
    graph = govern(line(research=agent, other=lambda s: {}), contracts={"*": Contract(tools=["pay"])}, sidecar=sidecar)
    stops("agent", "other")

    with pytest.raises(Refusal):
        run(graph)

    assert [1] == till.ran("pay")


class Last:
    """The innermost filter: what it does, it does when everything before the tool has passed."""

    at = "tool"

    def __init__(self, act: Callable[[Any], None]) -> None:
        self.act = act

    def __call__(self, call: Any) -> None:
        self.act(call)


def only_sync(done: list[int]) -> Any:
    @tool
    def mark(amount: int) -> str:
        """Marks."""
        done.append(amount)
        return "marked"

    return mark


@pytest.mark.parametrize("how", ["sync", "async", "only sync"])
def test_a_stop_that_comes_after_all_filters_still_comes_before_the_tools_own_code(
    how: str, sidecar: Sidecar, till: Any, one: Any, rows: Any, operator: Operator
) -> None:
    """LangChain does much in between: callbacks, arguments, a turn of the event loop, a thread."""
    stops, wait = operator
    done: list[int] = []
    used = only_sync(done) if how == "only sync" else till.refund

    async def anode(state: Any) -> Any:
        return {"out": str(await used.ainvoke({"amount": 1}))}

    node = (lambda s: {"out": str(used.invoke({"amount": 1}))}) if how == "sync" else anode
    contract = Contract(tools=["refund", "mark"])
    graph = govern(one(node), contracts={"n": contract}, sidecar=sidecar, filters=[Last(wait)])
    stops("all", "*")

    with pytest.raises(Halted):
        run(graph, "sync" if how == "sync" else "async")

    assert ([], []) == (till.done, done)
    assert (how != "only sync") == bool(rows("effect.declined"))


def test_a_graph_that_is_observed_is_not_stopped_before_a_tool(sidecar: Sidecar, till: Any, one: Any) -> None:
    sidecar.control.stop("all", reason="enough", by="alice")
    graph = govern(one(lambda s: {"out": str(till.pay.invoke({"amount": 1}))}), sidecar=sidecar)

    assert "pay 1" == graph.invoke({"out": ""})["out"]
