"""asyncio tasks with a context of their own: what a node makes in one is still the node's."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from governance import Contract, Sidecar, govern
from governance.errors import Refusal

OUTSIDE = contextvars.copy_context()
CONTEXTS: dict[str, Callable[[], contextvars.Context]] = {"fresh": contextvars.Context, "older": OUTSIDE.copy}


async def in_a_group(work: Any, context: contextvars.Context) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(work, context=context)


async def in_a_task_of_a_task(work: Any, context: contextvars.Context) -> None:
    async def between() -> None:
        await asyncio.create_task(work, context=contextvars.Context())

    await asyncio.create_task(between(), context=context)


WAYS: dict[str, Callable[[Any, contextvars.Context], Any]] = {
    "task": lambda work, context: asyncio.create_task(work, context=context),
    "loop": lambda work, context: asyncio.get_running_loop().create_task(work, context=context),
    "group": in_a_group,
    "task of a task": in_a_task_of_a_task,
}


@pytest.mark.parametrize("context", list(CONTEXTS))
@pytest.mark.parametrize("way", list(WAYS))
def test_a_task_with_a_context_of_its_own_acts_for_the_node(
    way: str, context: str, sidecar: Sidecar, till: Any, one: Any
) -> None:
    async def node(state: Any) -> None:
        await asyncio.gather(WAYS[way](till.pay.ainvoke({"amount": 1}), CONTEXTS[context]()), return_exceptions=True)

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done


def test_a_task_that_a_node_leaves_behind_in_a_context_of_its_own_may_not_act(
    sidecar: Sidecar, till: Any, one: Any
) -> None:
    ended: list[Any] = []

    async def later(over: asyncio.Event) -> None:
        await over.wait()
        await till.pay.ainvoke({"amount": 1})

    async def main() -> None:
        over = asyncio.Event()
        left: list[asyncio.Task[None]] = []

        async def node(state: Any) -> None:
            left.append(asyncio.create_task(later(over), context=contextvars.Context()))

        graph = govern(one(node), contracts={"n": Contract(tools=["pay"])}, sidecar=sidecar)
        await graph.ainvoke({"out": ""})
        over.set()
        ended.extend(await asyncio.gather(*left, return_exceptions=True))

    asyncio.run(main())

    assert [] == till.done
    assert isinstance(ended[0], Refusal)


def test_a_task_beside_the_graph_is_nobodys(sidecar: Sidecar, till: Any, one: Any) -> None:
    """Code of the application that runs on the same loop is not governed, in whatever context."""

    async def node(state: Any) -> None:
        await asyncio.sleep(0.05)

    async def main() -> list[Any]:
        graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)
        running = asyncio.create_task(graph.ainvoke({"out": ""}))
        await asyncio.sleep(0.01)
        paid = await asyncio.create_task(till.pay.ainvoke({"amount": 1}), context=contextvars.Context())
        await running
        return [paid]

    assert ["pay 1"] == asyncio.run(main())
