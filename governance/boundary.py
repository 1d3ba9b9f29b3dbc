"""Where calls begin: builds the call of a node, model or tool and runs its chain.

Nothing here knows LangGraph's internals; `governance.seams` finds the facts and hands them in.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from langgraph.errors import GraphInterrupt

from governance import chain, streams
from governance.call import Call, ModelCall, NodeCall, ToolCall
from governance.current import CURRENT, setting
from governance.errors import ContractViolation
from governance.fallbacks import model_name


class _Executions:
    """Ids that no other execution has had, in this process or another."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._prefix = os.urandom(5).hex()
        self._numbers = itertools.count()

    def next(self) -> str:
        return f"{self._prefix}-{next(self._numbers):x}"


EXECUTIONS = _Executions()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=EXECUTIONS.renew)


def missing_contract(place: str, parent: Call | None) -> ContractViolation:
    """Enforcement found no contract for a place: nothing may run there."""
    pattern = f"{place.rpartition('/')[0]}/*" if "/" in place else "*"
    violation = ContractViolation(
        f"{place} has no contract; add one under {place!r} or a pattern like {pattern!r}, "
        "or Contract.observe(reason=...)",
        place=place,
    )
    if parent is not None:
        parent.node.refuse(violation)
    return violation


def run_node(call: NodeCall, perform: Callable[[NodeCall], Any]) -> Any:
    """Run a node inside its chain."""
    return chain.run(call.bound.filters, call, perform)


def arun_node(call: NodeCall, perform: Callable[[NodeCall], Awaitable[Any]]) -> Awaitable[Any]:
    """Run a node inside its chain, in async code."""
    return chain.arun(call.bound.filters, call, perform)


def model_call(parent: Call, model: Any, messages: list[Any], options: Mapping[str, Any]) -> ModelCall:
    return ModelCall(
        name=model_name(model),
        path=f"{parent.path}>model.{parent.node.next_ordinal(f'{parent.path}>model')}",
        execution=EXECUTIONS.next(),
        governance=parent.governance.in_force.now,
        session=parent.session,
        contract=parent.contract,
        parent=parent,
        messages=messages,
        options=options,
        model=model,
    )


def tool_call(parent: Call, tool: Any, args: Mapping[str, Any], call_id: str | None) -> ToolCall:
    return ToolCall(
        name=tool.name,
        path=f"{parent.path}>{tool.name}.{_tool_ordinal(parent, tool.name, call_id)}",
        execution=EXECUTIONS.next(),
        governance=parent.governance.in_force.now,
        session=parent.session,
        contract=parent.contract,
        parent=parent,
        args=args,
        tool=tool,
        call_id=call_id,
    )


def _tool_ordinal(parent: Call, name: str, call_id: str | None) -> int:
    """The number of this call among those of the same tool.

    Tool calls of one message may run side by side, so the order in which they start says nothing;
    the message does.
    """
    if call_id is not None and isinstance(parent, NodeCall):
        messages = parent.raw if isinstance(parent.raw, list) else parent.read("messages")
        for message in reversed(messages if isinstance(messages, list) else []):
            asked = [c.get("id") for c in getattr(message, "tool_calls", None) or () if c.get("name") == name]
            if call_id in asked:
                return asked.index(call_id)
            if asked:
                break
    return parent.node.next_ordinal(f"{parent.path}>{name}")


class questioned:
    """A question that leaves a call is one of its node, which waits for the answer."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, GraphInterrupt):
            self.call.node.question = error


def run_inner(call: ModelCall | ToolCall, perform: Callable[[Any], Any]) -> Any:
    """Run a model or tool inside its chain, with itself as the current call."""

    def inside(inner: Any) -> Any:
        with setting(CURRENT, inner):
            return perform(inner)

    with questioned(call):
        return chain.run(call.governance.chain(call.boundary, call.contract), call, inside)


async def arun_inner(call: ModelCall | ToolCall, perform: Callable[[Any], Awaitable[Any]]) -> Any:
    """`run_inner` for async code."""

    async def inside(inner: Any) -> Any:
        with setting(CURRENT, inner):
            return await perform(inner)

    with questioned(call):
        return await chain.arun(call.governance.chain(call.boundary, call.contract), call, inside)


def stream_inner(
    call: ModelCall, produce: Callable[[Any], Iterator[Any]], fold: Callable[[list[Any]], Any]
) -> Iterator[Any]:
    """Stream a model inside its chain; it is the current call only while a piece is fetched."""

    def inside(inner: Any) -> Iterator[Any]:
        for piece in streams.setting_each(CURRENT, inner, produce(inner)):
            call.streamed = inner.streamed = True
            yield piece

    filters = call.governance.chain(call.boundary, call.contract)
    yield from streams.stream(chain.Chain(filters, call), inside, fold)


async def astream_inner(
    call: ModelCall, produce: Callable[[Any], AsyncIterator[Any]], fold: Callable[[list[Any]], Any]
) -> AsyncIterator[Any]:
    """`stream_inner` for async code."""

    async def inside(inner: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(streams.asetting_each(CURRENT, inner, produce(inner))) as pieces:
            async for piece in pieces:
                call.streamed = inner.streamed = True
                yield piece

    filters = call.governance.chain(call.boundary, call.contract)
    async for piece in streams.astream(chain.Chain(filters, call), inside, fold):
        yield piece
