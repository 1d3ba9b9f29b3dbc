"""The four drivers of the chain, and a recursive reading of the same filters that says what is right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from langgraph.errors import GraphBubbleUp

from governance import chain, streams
from governance.call import Hold, Proceed, Run, Sleep
from governance.chain import Chain
from tests.governance.chains import Log, filter_of, node_of


def reference(filters: list[Any], call: str, node: Callable[[str], str]) -> str:
    """What a chain means, as plainly as it can be written: a filter calls the rest of the chain."""
    if not filters:
        return node(call)
    flow = filters[0](call)
    if flow is None:
        return reference(filters[1:], call, node)
    held: list[Any] = []
    if callable(flow):
        try:
            value = reference(filters[1:], call, node)
        except BaseException as error:
            flow.failed(call, error)  # type: ignore[attr-defined]
            raise
        value = flow(call, value)
        if isinstance(value, str):
            return value
        flow = value

    def perform(effect: Any) -> Any:
        if isinstance(effect, Proceed):
            return reference(filters[1:], effect.call, node)  # type: ignore[arg-type]
        if isinstance(effect, Hold):
            effect.slot.take()
            return held.append(effect.slot)
        if isinstance(effect, Run):
            return effect.work()
        if isinstance(effect, Sleep):
            return None
        raise TypeError(f"a filter yielded {effect!r}; expected Proceed, Sleep, Hold or Run")

    try:
        effect = next(flow)
        while True:
            try:
                value = perform(effect)
            except GraphBubbleUp:
                flow.close()
                raise
            except Exception as error:
                effect = flow.throw(error)
            except BaseException:
                flow.close()
                raise
            else:
                effect = flow.send(value)
    except StopIteration as done:
        return done.value
    finally:
        for slot in reversed(held):
            slot.release()


def run(filters: list[Any], node: Callable[[str], str]) -> Any:
    return chain.run(filters, "c", node)  # type: ignore[arg-type]


def arun(filters: list[Any], node: Callable[[str], str]) -> Any:
    async def anode(call: str) -> str:
        await asyncio.sleep(0)
        return node(call)

    return _driven(chain.arun(filters, "c", anode))  # type: ignore[arg-type]


def stream(filters: list[Any], node: Callable[[str], str]) -> Any:
    made = Chain(filters, "c")  # type: ignore[arg-type]
    for _ in streams.stream(made, lambda call: iter((node(call),)), "".join):
        pass
    return made.result


def astream(filters: list[Any], node: Callable[[str], str]) -> Any:
    made = Chain(filters, "c")  # type: ignore[arg-type]

    async def produce(call: str) -> AsyncIterator[str]:
        yield node(call)

    async def drain() -> Any:
        async for _ in streams.astream(made, produce, "".join):
            pass
        return made.result

    return _driven(drain())


def _driven(work: Any) -> Any:
    """Runs a coroutine without a loop's own handling of cancellation and the keyboard."""
    loop = _LOOP
    task = loop.create_task(_outcome(work))
    found = loop.run_until_complete(task)
    if isinstance(found, tuple):
        raise found[0]
    return found[0]


async def _outcome(work: Any) -> Any:
    try:
        return [await work]
    except BaseException as error:
        return (error,)


_LOOP = asyncio.new_event_loop()


def outcome(driver: Callable[..., Any], kinds: list[str], node: str) -> tuple[Any, Log]:
    """The result or the error of a chain, and everything that happened on the way."""
    log: Log = []
    filters = [filter_of(kind, "abcdef"[n], log) for n, kind in enumerate(kinds)]
    try:
        return driver(filters, node_of(node, log)), log
    except BaseException as error:
        return (type(error).__name__, str(error)), log


def by_reference(filters: list[Any], node: Callable[[str], str]) -> str:
    return reference(filters, "c", node)
