"""The bulkhead in a chain: no deadlock with what runs inside, nobody blocked on the loop, one agent is not all."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import Shed


class Shop:
    """A tool that takes a while, and knows how many were in it at once."""

    def __init__(self, seconds: float = 0.02, name: str = "look") -> None:
        self.now = self.most = self.served = 0
        self._lock = threading.Lock()

        def enter(by: int) -> None:
            with self._lock:
                self.now += by
                self.most = max(self.most, self.now)
                self.served += by < 0

        def look() -> str:
            enter(1)
            time.sleep(seconds)
            enter(-1)
            return "found"

        async def alook() -> str:
            enter(1)
            try:
                await asyncio.sleep(seconds)
            finally:
                enter(-1)
            return "found"

        self.tool: BaseTool = declares(SideEffect("read"))(
            StructuredTool.from_function(look, coroutine=alook, name=name, description="Looks.")
        )


@pytest.fixture
def policy(tmp_path: Path) -> Any:
    def write(**values: Any) -> Path:
        path = tmp_path / "sidecar.toml"
        path.write_text("[bulkhead]\n" + "".join(f"{key} = {value!r}\n" for key, value in values.items()))
        return path

    return write


def asks(shop: Shop) -> Any:
    return lambda state: {"out": shop.tool.invoke({})}


def asks_async(shop: Shop) -> Any:
    async def node(state: Any) -> Any:
        return {"out": await shop.tool.ainvoke({})}

    return node


def tried(graph: Any) -> str:
    try:
        return str(graph.invoke({"out": ""})["out"])
    except Shed:
        return "shed"


async def atried(graph: Any) -> str:
    try:
        return str((await graph.ainvoke({"out": ""}))["out"])
    except Shed:
        return "shed"


@pytest.mark.parametrize("how", ["threads", "tasks"])
def test_never_more_at_once_and_all_are_served_in_time(how: str, policy: Any, sidecar: Sidecar, one: Any) -> None:
    shop = Shop()
    contracts = {"n": Contract(tools=["look"])}
    rules = policy(concurrent=4, queue=50, patience=5.0)

    async def tasks(graph: Any) -> list[str]:
        return await asyncio.gather(*(atried(graph) for _ in range(24)))

    if how == "tasks":
        found = asyncio.run(tasks(govern(one(asks_async(shop)), contracts=contracts, policy=rules, sidecar=sidecar)))
    else:
        graph = govern(one(asks(shop)), contracts=contracts, policy=rules, sidecar=sidecar)
        with ThreadPoolExecutor(24) as pool:
            found = list(pool.map(tried, [graph] * 24))

    assert ["found"] * 24 == found
    assert 4 == shop.most


def test_what_does_not_fit_is_shed_and_on_record(policy: Any, sidecar: Sidecar, one: Any, rows: Any) -> None:
    shop = Shop(0.2)
    graph = govern(one(asks_async(shop)), contracts={"n": Contract(tools=["look"])},
                   policy=policy(concurrent=2, queue=3, patience=5.0), sidecar=sidecar)  # fmt: skip

    async def tasks() -> list[str]:
        return await asyncio.gather(*(atried(graph) for _ in range(12)))

    found = asyncio.run(tasks())

    assert (5, 7) == (found.count("found"), found.count("shed"))
    assert 7 == len(rows("bulkhead.shed"))
    assert (
        "tool:look has no place for another call: 2 calls are at it and 3 wait; come back later"
        == (rows("bulkhead.shed")[0].body["reason"])
    )


def test_waiting_blocks_nobody_else_on_the_loop(policy: Any, sidecar: Sidecar, one: Any) -> None:
    shop, ticks = Shop(0.1), list[float]()
    graph = govern(one(asks_async(shop)), contracts={"n": Contract(tools=["look"])},
                   policy=policy(concurrent=1, patience=5.0), sidecar=sidecar)  # fmt: skip

    async def ticking() -> None:
        while True:
            ticks.append(time.perf_counter())
            await asyncio.sleep(0.005)

    async def both() -> None:
        await graph.ainvoke({"out": ""})
        ticker = asyncio.create_task(ticking())
        await asyncio.gather(*(atried(graph) for _ in range(4)))
        ticker.cancel()

    asyncio.run(both())

    assert len(ticks) > 15  # 0.4 s of waiting; a blocked loop would tick four times


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_call_inside_one_that_has_a_place_needs_none(how: str, policy: Any, sidecar: Sidecar, one: Any) -> None:
    """One place, and a tool whose graph asks a member of the same dependency: it would wait for itself."""
    shop = Shop(0.0)
    inner = one(asks(shop)) if how == "sync" else one(asks_async(shop))

    def outer() -> str:
        return str(inner.invoke({"out": ""})["out"])

    async def aouter() -> str:
        return str((await inner.ainvoke({"out": ""}))["out"])

    research = declares(SideEffect("read"))(
        StructuredTool.from_function(outer, coroutine=aouter, name="research", description="Researches.")
    )

    async def anode(state: Any) -> Any:
        return {"out": await research.ainvoke({})}

    rules = policy(concurrent=1, queue=1, patience=0.2)
    rules.write_text(rules.read_text() + '[dependency."web"]\nmembers = ["look", "research"]\n')
    node = anode if how == "async" else lambda state: {"out": research.invoke({})}
    contract = Contract(tools=["look", "research"])
    graph = govern(one(node), contracts={"n": contract, "n/*": contract}, policy=rules, sidecar=sidecar)

    assert "found" == (tried(graph) if how == "sync" else asyncio.run(atried(graph)))


def test_one_agent_does_not_take_all_places(policy: Any, sidecar: Sidecar, one: Any) -> None:
    """A greedy role with twenty calls; another one comes later and is served at once."""
    shop = Shop(0.1)
    rules = policy(concurrent=3, per_agent=2, queue=50, patience=5.0)

    def graph(role: str) -> Any:
        contract = Contract(tools=["look"], role=role)
        return govern(one(asks_async(shop)), contracts={"n": contract}, policy=rules, sidecar=sidecar)

    greedy, modest = graph("greedy"), graph("modest")

    async def both() -> int:
        await atried(modest)
        crowd = [asyncio.create_task(atried(greedy)) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert "found" == await atried(modest)
        before = sum(task.done() for task in crowd)
        await asyncio.gather(*crowd)
        return before

    assert asyncio.run(both()) < 15  # behind the crowd it would come after all of them


def test_a_cancelled_run_gives_its_place_back(policy: Any, sidecar: Sidecar, one: Any) -> None:
    shop = Shop(60.0)
    graph = govern(one(asks_async(shop)), contracts={"n": Contract(tools=["look"])},
                   policy=policy(concurrent=1, queue=2, patience=90.0), sidecar=sidecar)  # fmt: skip

    async def cancelled() -> None:
        tasks = [asyncio.create_task(atried(graph)) for _ in range(3)]
        while not (shop.now and sum(one.bulkhead.waiting for one in sidecar.dependencies.all() if one.bulkhead) == 2):  # noqa: ASYNC110 - what waits sets no event
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(cancelled())
    (dependency,) = sidecar.dependencies.all()

    assert dependency.bulkhead is not None
    assert (0, 0) == (dependency.bulkhead.inside, dependency.bulkhead.waiting)


def test_the_time_in_line_does_not_make_an_answer_slow(policy: Any, sidecar: Sidecar, one: Any) -> None:
    """Else a bulkhead would open the breaker of a dependency that is as quick as ever."""
    shop = Shop(0.05)
    rules = policy(concurrent=1, queue=50, patience=60.0)
    rules.write_text(rules.read_text() + "[breaker]\nslow = 0.6\nslow_rate = 0.3\nminimum = 20\n")
    graph = govern(one(asks_async(shop)), contracts={"n": Contract(tools=["look"])}, policy=rules, sidecar=sidecar)

    async def tasks() -> list[str]:
        return await asyncio.gather(*(atried(graph) for _ in range(20)))

    assert ["found"] * 20 == asyncio.run(tasks())
    (dependency,) = sidecar.dependencies.all()
    assert dependency.breaker is not None
    assert "closed" == dependency.breaker.circuit.state


def test_those_in_line_do_not_go_to_what_has_been_left_alone_meanwhile(policy: Any, sidecar: Sidecar, one: Any) -> None:
    """They were admitted while the circuit was closed, and come to their place when it is open."""
    reached: list[int] = []

    async def fails() -> str:
        reached.append(1)
        await asyncio.sleep(0.01)
        raise ConnectionError("weather")

    tool = declares(SideEffect("read"))(
        StructuredTool.from_function(coroutine=fails, name="look", description="Looks.")
    )

    async def node(state: Any) -> Any:
        return {"out": await tool.ainvoke({})}

    rules = policy(concurrent=1, queue=50, patience=5.0)
    rules.write_text(rules.read_text() + "[breaker]\nminimum = 3\n")
    graph = govern(one(node), contracts={"n": Contract(tools=["look"])}, policy=rules, sidecar=sidecar)

    async def tasks() -> list[Any]:
        return await asyncio.gather(*(graph.ainvoke({"out": ""}) for _ in range(12)), return_exceptions=True)

    found = [type(error).__name__ for error in asyncio.run(tasks())]

    assert 3 == len(reached)
    assert (3, 9) == (found.count("ConnectionError"), found.count("CircuitOpen"))
