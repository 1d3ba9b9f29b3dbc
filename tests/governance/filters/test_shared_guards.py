"""Tenants, priorities and several Sidecars on one control file, in a chain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from blockbuster import blockbuster_ctx
from langchain_core.tools import BaseTool, StructuredTool

from governance import Contract, Sidecar, SideEffect, declares, govern

RULES = '[tenants]\nkey = "tenant"\n\n[priorities]\nkey = "priority"\n\n'
BREAKER = RULES + "[breaker]\nminimum = 10\nprobes = 3\n"


class Shop:
    """A tool that fails for some tenants, or holds whoever comes until it is opened."""

    def __init__(self) -> None:
        self.fails: dict[str, Exception] = {}
        self.reached: list[str] = []
        self.held: asyncio.Event | None = None

        async def look(who: str) -> str:
            self.reached.append(who)
            if self.held is not None:
                await self.held.wait()
            if who in self.fails:
                raise self.fails[who]
            return "found"

        self.tool: BaseTool = declares(SideEffect("read"))(
            StructuredTool.from_function(coroutine=look, name="look", description="Looks.")
        )


def graph_of(one: Any, shop: Shop, sidecar: Sidecar, folder: Path, rules: str) -> Any:
    async def node(state: Any) -> Any:
        return {"out": await shop.tool.ainvoke({"who": state["out"]})}

    policy = folder / "sidecar.toml"
    policy.write_text(rules)
    return govern(
        one(node), contracts={"n": Contract(tools=["look"], waives=["loops"])}, policy=policy, sidecar=sidecar
    )


async def asked(graph: Any, tenant: str, priority: str = "normal") -> str:
    try:
        told = {"configurable": {"tenant": tenant, "priority": priority}}
        return str((await graph.ainvoke({"out": tenant}, told))["out"])
    except Exception as error:
        return type(error).__name__


async def times(graph: Any, number: int, tenant: str) -> list[str]:
    return [await asked(graph, tenant) for _ in range(number)]


async def until(seen: Callable[..., bool]) -> None:
    """Wait for what another task or thread does; the limit of the test ends one that would never end."""
    for _ in iter(seen, True):
        await asyncio.sleep(0.005)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Sidecar]]:
    """As two processes would have them."""
    made = [Sidecar(ledger=tmp_path / "ledger.db") for _ in range(2)]
    yield made
    for sidecar in made:
        sidecar.close()


def test_a_tenants_trouble_is_its_own_in_all_processes(pair: list[Sidecar], one: Any, tmp_path: Path) -> None:
    shop = Shop()
    shop.fails["acme"] = ConnectionError("weather")
    first, second = (graph_of(one, shop, sidecar, tmp_path, BREAKER) for sidecar in pair)

    async def asking() -> None:
        assert ["ConnectionError"] * 10 + ["CircuitOpen"] == await times(first, 11, "acme")
        assert "found" == await asked(first, "emca")
        await until(lambda: bool(pair[1].control.rows("SELECT * FROM circuits")))  # others are told in the background
        pair[1].control.refresh()
        assert "CircuitOpen" == await asked(second, "acme")
        assert "found" == await asked(second, "emca")

    asyncio.run(asking())


def test_a_key_that_is_no_longer_valid_leaves_its_tenant_alone_and_nobody_else(
    pair: list[Sidecar], one: Any, tmp_path: Path
) -> None:
    shop, request = Shop(), httpx.Request("GET", "http://shop")
    shop.fails["acme"] = httpx.HTTPStatusError("no", request=request, response=httpx.Response(401, request=request))
    graph = graph_of(one, shop, pair[0], tmp_path, BREAKER)

    async def asking() -> None:
        assert ["HTTPStatusError"] * 10 + ["CircuitOpen"] * 5 == await times(graph, 15, "acme")
        assert ["found"] * 5 == await times(graph, 5, "emca")

    asyncio.run(asking())


def test_an_outage_that_several_tenants_see_is_one_for_all(pair: list[Sidecar], one: Any, tmp_path: Path) -> None:
    shop = Shop()
    shop.fails = {f"{number}": ConnectionError("weather") for number in range(11)}
    graph = graph_of(one, shop, pair[0], tmp_path, BREAKER)

    async def asking() -> None:
        for number in range(11):
            assert "ConnectionError" == await asked(graph, f"{number}")
        assert "CircuitOpen" == await asked(graph, "somebody else")

    asyncio.run(asking())


def test_a_tenant_that_is_left_alone_takes_no_probe_of_all(pair: list[Sidecar], one: Any, tmp_path: Path) -> None:
    """Else whoever calls most in vain would keep the others from finding out that it works again."""
    now, shop = [0.0], Shop()
    sidecar = Sidecar(ledger=tmp_path / "ledger.db", clock=lambda: now[0])
    graph = graph_of(one, shop, sidecar, tmp_path, BREAKER.replace("probes = 3", "probes = 1\nopen = 5"))
    shop.fails = {f"{number}": ConnectionError("weather") for number in range(11)} | {"acme": ConnectionError("no")}

    async def asking() -> None:
        for number in range(11):
            await asked(graph, f"{number}")
        assert "CircuitOpen" == await asked(graph, "x")
        now[0] += 5
        assert "found" == await asked(graph, "x")
        await times(graph, 11, "acme")
        for number in range(11):
            await asked(graph, f"{number}")
        await asyncio.to_thread(sidecar.control.close)
        now[0] += 4  # the tenant's own and that of all are open; neither is tried again yet
        reached = len(shop.reached)
        assert ["CircuitOpen"] * 5 == await times(graph, 5, "acme")
        now[0] += 1
        assert ["ConnectionError"] + ["CircuitOpen"] * 4 == await times(graph, 5, "acme")
        assert reached + 1 == len(shop.reached)

    asyncio.run(asking())
    sidecar.close()


def test_one_tenant_does_not_take_all_places(pair: list[Sidecar], one: Any, tmp_path: Path) -> None:
    shop = Shop()
    rules = RULES + "[bulkhead]\nconcurrent = 3\nper_tenant = 2\nqueue = 50\npatience = 60\n"
    graph = graph_of(one, shop, pair[0], tmp_path, rules)

    async def asking() -> None:
        shop.held = asyncio.Event()
        crowd = [asyncio.create_task(asked(graph, "greedy")) for _ in range(20)]
        await until(lambda: len(shop.reached) == 2)
        modest = asyncio.create_task(asked(graph, "modest"))
        await until(lambda: "modest" in shop.reached)
        assert 2 == shop.reached.count("greedy")
        shop.held.set()
        assert ["found"] * 21 == await asyncio.gather(*crowd, modest)

    asyncio.run(asyncio.wait_for(asking(), 60))


def test_who_matters_more_takes_the_wait_of_who_matters_less(pair: list[Sidecar], one: Any, tmp_path: Path) -> None:
    shop = Shop()
    rules = RULES + "[bulkhead]\nconcurrent = 1\nqueue = 2\npatience = 60\n"
    graph = graph_of(one, shop, pair[0], tmp_path, rules)

    async def asking() -> None:
        shop.held = asyncio.Event()
        first = asyncio.create_task(asked(graph, "first"))
        await until(lambda: bool(shop.reached))
        (dependency,) = pair[0].dependencies.all()
        bulkhead, lows = dependency.bulkhead, []
        assert bulkhead is not None
        for number in range(2):
            lows.append(asyncio.create_task(asked(graph, f"low {number}", "low")))
            await until(lambda number=number: bulkhead.waiting == number + 1)
        high = asyncio.create_task(asked(graph, "high", "high"))
        assert "Shed" == await lows[1]
        shop.held.set()
        assert ["found"] * 3 == await asyncio.gather(first, lows[0], high)
        assert ["first", "high", "low 0"] == shop.reached

    asyncio.run(asyncio.wait_for(asking(), 60))


def test_two_processes_have_the_places_of_one(pair: list[Sidecar], one: Any, tmp_path: Path) -> None:
    shop = Shop()
    rules = RULES + "[bulkhead]\nconcurrent = 4\nqueue = 50\npatience = 60\n"
    graphs = [graph_of(one, shop, sidecar, tmp_path, rules) for sidecar in pair]

    async def asking() -> None:
        shop.held = asyncio.Event()
        crowd = [asyncio.create_task(asked(graphs[number % 2], "x")) for number in range(20)]
        await until(lambda: len(shop.reached) == 4)
        for _ in range(50):
            await asyncio.sleep(0.005)
        assert 4 == len(shop.reached)
        shop.held.set()
        assert ["found"] * 20 == await asyncio.gather(*crowd)

    asyncio.run(asyncio.wait_for(asking(), 60))


def test_nothing_of_this_blocks_an_event_loop(one: Any, tmp_path: Path) -> None:
    """While circuits open, are tried again and close, places are leased, and a probe is cancelled."""
    now, shop = [0.0], Shop()
    pair = [Sidecar(ledger=tmp_path / "ledger.db", clock=lambda: now[0]) for _ in range(2)]
    rules = (
        BREAKER + "open = 5\n\n[retries]\nattempts = 1\n\n[bulkhead]\nconcurrent = 4\nper_tenant = 3\nper_agent = 4\n"
    )
    graphs = [graph_of(one, shop, sidecar, tmp_path, rules) for sidecar in pair]

    async def asking() -> None:
        shop.fails = {name: ConnectionError("weather") for name in "abcd"}
        for number in range(32):
            await asked(graphs[number % 2], "abcd"[number // 2 % 4])
        assert "CircuitOpen" == await asked(graphs[0], "somebody else")
        shop.fails = {}
        now[0] += 5
        shop.held = asyncio.Event()
        reached = len(shop.reached)
        probe = asyncio.create_task(asked(graphs[0], "somebody else"))
        await until(lambda: len(shop.reached) > reached)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        shop.held = None
        found = [await asked(graphs[number % 2], f"{number}") for number in range(9)]
        assert "found" in found
        assert "found" == await asked(graphs[0], "9")

    with blockbuster_ctx():
        asyncio.run(asyncio.wait_for(asking(), 60))
    for sidecar in pair:
        sidecar.close()
