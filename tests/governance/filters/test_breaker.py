"""The breaker in a chain: it sees every try, shares what it knows, and its refusal is no end of the node."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import CircuitOpen
from governance.plane.explanation import sentence
from tests.fixtures import read_rows

OPEN = 5.0
RULES = """
[breaker]
minimum = 10
probes = 3
"""


class Shop:
    """A tool that does as `behave` says, and counts who reached it."""

    def __init__(self, name: str = "look") -> None:
        self.behave: Callable[[], Any] = lambda: "found"
        self.reached = 0
        self._lock = threading.Lock()

        def look(word: str = "") -> str:
            with self._lock:
                self.reached += 1
            return str(self.behave())

        async def alook(word: str = "") -> str:
            await asyncio.sleep(0)
            return look(word)

        self.tool = declares(SideEffect("read"))(
            StructuredTool.from_function(look, coroutine=alook, name=name, description="Looks.")
        )


class Street:
    """Graphs that ask shops, under one Sidecar whose clock stands still."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.folder = folder
        self.sidecar = Sidecar(ledger=folder / "ledger.db", clock=lambda: self.now)

    def graph(self, line: Any, node: Any, *tools: str, rules: str = RULES, **compiled: Any) -> Any:
        policy = self.folder / "sidecar.toml"
        policy.write_text(rules, encoding="utf-8")
        contracts = {"n": Contract(tools=tools or ["look"])}
        return govern(line(compiled=compiled, n=node), contracts=contracts, policy=policy, sidecar=self.sidecar)

    def rows(self, kind: str) -> list[Any]:
        self.sidecar.ledger.flush()
        return [row for row in read_rows(self.sidecar.ledger.path) if row.kind.startswith(kind)]


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    made = Street(tmp_path)
    yield made
    made.sidecar.close()


def failing() -> Any:
    raise ConnectionError("weather")


def asks(shop: Shop) -> Callable[[Any], Any]:
    return lambda state: {"out": shop.tool.invoke({"word": "a"})}


def asks_async(shop: Shop) -> Callable[[Any], Any]:
    async def node(state: Any) -> Any:
        return {"out": await shop.tool.ainvoke({"word": "a"})}

    return node


def tried(graph: Any) -> str:
    try:
        return str(graph.invoke({"out": ""})["out"])
    except Exception as error:
        return type(error).__name__


async def atried(graph: Any) -> str:
    try:
        return str((await graph.ainvoke({"out": ""}))["out"])
    except Exception as error:
        return type(error).__name__


def test_what_fails_too_often_is_left_alone_and_tried_again_later(street: Street, line: Any) -> None:
    shop = Shop()
    graph = street.graph(line, asks(shop))
    shop.behave = failing
    found = [tried(graph) for _ in range(12)]

    assert ["ConnectionError"] * 10 + ["CircuitOpen"] * 2 == found
    assert 10 == shop.reached
    street.now += OPEN
    shop.behave = lambda: "found"
    assert ["found"] * 4 == [tried(graph) for _ in range(4)]
    told = [(row.kind, row.actor, row.body["reason"]) for row in street.rows("breaker")]
    assert [
        ("breaker.opened", "tool:look", "10 of 10 calls in 10 s failed, the last one: ConnectionError, connection"),
        ("breaker.half_open", "tool:look", "5 s are over"),
        ("breaker.closed", "tool:look", "3 of 3 probes succeeded"),
    ] == told


def test_the_record_explains_it(street: Street, line: Any) -> None:
    shop = Shop()
    shop.behave = failing
    graph = street.graph(line, asks(shop))
    for _ in range(11):
        tried(graph)
    (row,) = street.rows("breaker")

    assert (
        "The circuit of tool:look opened: nobody asks it for a while, because: "
        "10 of 10 calls in 10 s failed, the last one: ConnectionError, connection."
        == sentence(row._asdict(), lambda session, digest: None)
    )


def test_a_node_may_do_without_what_is_left_alone(street: Street, line: Any) -> None:
    """Nothing was forbidden: the node goes on, and may ask others."""
    shop, other = Shop(), Shop("other")
    shop.behave = failing

    def node(state: Any) -> Any:
        try:
            return {"out": shop.tool.invoke({})}
        except (ConnectionError, CircuitOpen):
            return {"out": f"other {other.tool.invoke({})}"}

    graph = street.graph(line, node, "look", "other")

    assert ["other found"] * 15 == [tried(graph) for _ in range(15)]
    assert (10, 15) == (shop.reached, other.reached)


def test_graphs_share_what_they_know_of_a_dependency(street: Street, line: Any) -> None:
    shop = Shop()
    shop.behave = failing
    graphs = [street.graph(line, asks(shop)) for _ in range(20)]
    for graph in graphs:
        tried(graph)

    assert 10 == shop.reached


def test_members_of_a_dependency_stand_and_fall_together(street: Street, line: Any) -> None:
    pay, refund, look = Shop("pay"), Shop("refund"), Shop()
    pay.behave = failing
    rules = RULES + '[dependency."bank"]\nmembers = ["pay", "refund"]\n'
    first, second, third = (street.graph(line, asks(one), "pay", "refund", "look", rules=rules)
                            for one in (pay, refund, look))  # fmt: skip
    for _ in range(10):
        tried(first)

    assert ("CircuitOpen", "found") == (tried(second), tried(third))
    assert "bank" == street.rows("breaker")[0].actor


@pytest.mark.parametrize("error", [ValueError("mine"), KeyError("mine"), RuntimeError("mine")])
def test_mistakes_of_the_caller_never_open_it(error: Exception, street: Street, line: Any) -> None:
    shop = Shop()

    def wrong() -> Any:
        raise error

    shop.behave = wrong
    graph = street.graph(line, asks(shop))

    assert [type(error).__name__] * 40 == [tried(graph) for _ in range(40)]
    assert 40 == shop.reached


def test_a_tool_that_asks_a_person_gives_its_probe_back(street: Street, line: Any) -> None:
    """An interrupt says nothing of the dependency; with a single probe it would otherwise stay half open for ever."""
    shop = Shop()
    shop.behave = failing
    graph = street.graph(line, asks(shop), checkpointer=InMemorySaver(), rules=RULES.replace("3", "1"))
    for number in range(10):
        with pytest.raises(ConnectionError):
            graph.invoke({"out": ""}, {"configurable": {"thread_id": str(number)}})
    street.now += OPEN
    shop.behave = lambda: interrupt("really?")
    asked: Any = {"configurable": {"thread_id": "asked"}}
    graph.invoke({"out": ""}, asked)

    assert "yes" == graph.invoke(Command(resume="yes"), asked)["out"]
    assert "breaker.closed" == street.rows("breaker")[-1].kind


def opened(street: Street, line: Any, shop: Shop, node: Any) -> Any:
    graph = street.graph(line, node)
    shop.behave = failing
    if asyncio.iscoroutinefunction(node):
        results = asyncio.run(gathered(graph, 10))
    else:
        results = [tried(graph) for _ in range(10)]
    assert ["ConnectionError"] * 10 == results
    shop.reached = 0
    return graph


async def gathered(graph: Any, callers: int) -> list[str]:
    return await asyncio.gather(*(atried(graph) for _ in range(callers)))


def test_of_50_tasks_at_half_open_exactly_the_probes_reach_the_dependency(street: Street, line: Any) -> None:
    shop = Shop()
    graph = opened(street, line, shop, asks_async(shop))
    for _ in range(20):
        street.now += OPEN
        found = asyncio.run(gathered(graph, 50))

        assert 3 == shop.reached
        assert 47 == found.count("CircuitOpen")
        shop.reached = 0


def test_of_50_threads_at_half_open_exactly_the_probes_reach_the_dependency(street: Street, line: Any) -> None:
    shop, callers = Shop(), 50
    graph = opened(street, line, shop, asks(shop))
    door = threading.Barrier(callers)
    held = threading.Semaphore(0)

    def fails_late() -> Any:
        held.acquire()
        raise ConnectionError("weather")

    def caller(_: int) -> str:
        door.wait()
        found = tried(graph)
        if found == "CircuitOpen":
            with lock:
                refused.append(1)
                if len(refused) == callers - 3:  # only now may a probe end: else the next would be one of another round
                    for _ in range(callers):
                        held.release()
        return found

    shop.behave, lock = fails_late, threading.Lock()
    for _ in range(10):
        street.now += OPEN
        refused: list[int] = []
        held = threading.Semaphore(0)
        with ThreadPoolExecutor(callers) as pool:
            found = list(pool.map(caller, range(callers)))

        assert 3 == shop.reached
        assert 47 == found.count("CircuitOpen")
        shop.reached = 0


def test_where_nothing_is_set_no_filter_of_these_stands_in_any_chain(street: Street, line: Any) -> None:
    """What is not asked for costs nothing."""
    from governance.seams import governance_of

    contract = Contract(tools=["look"])
    names = {}
    for rules in ("", RULES):
        graph = street.graph(line, asks(Shop()), rules=rules)
        governance = governance_of(graph)
        assert governance is not None
        names[rules] = [
            {type(getattr(one, "__self__", one)).__name__ for one in governance.chain(boundary, contract)}
            for boundary in ("node", "model", "tool")
        ]

    added = [with_rules - without for with_rules, without in zip(names[RULES], names[""], strict=True)]
    ours = {"Attempts", "CircuitBreaker", "BulkheadFilter"}
    assert [set(), ours, ours] == added
