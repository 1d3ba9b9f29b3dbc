"""Where calls begin: builds the call of a node, model or tool and runs its chain.

Nothing here knows LangGraph's internals; `governance.seams` finds the facts and hands them in.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from langgraph.errors import GraphInterrupt

from governance import chain, streams
from governance.call import Call, ModelCall, NodeCall, ToolCall
from governance.current import CURRENT
from governance.errors import ContractViolation


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
    name = str(getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__)
    return ModelCall(
        name=name,
        path=f"{parent.path}>model.{parent.node.next_ordinal(f'{parent.path}>model')}",
        execution=EXECUTIONS.next(),
        governance=parent.governance,
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
        governance=parent.governance,
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


def run_inner(call: ModelCall | ToolCall, perform: Callable[[Any], Any]) -> Any:
    """Run a model or tool inside its chain, with itself as the current call."""

    def inside(inner: Any) -> Any:
        token = CURRENT.set(inner)
        try:
            return perform(inner)
        finally:
            CURRENT.reset(token)

    filters = call.governance.chain(call.boundary, call.contract)
    try:
        return chain.run(filters, call, inside)
    except GraphInterrupt as question:
        call.node.question = question
        raise


async def arun_inner(call: ModelCall | ToolCall, perform: Callable[[Any], Awaitable[Any]]) -> Any:
    """`run_inner` for async code."""

    async def inside(inner: Any) -> Any:
        token = CURRENT.set(inner)
        try:
            return await perform(inner)
        finally:
            CURRENT.reset(token)

    filters = call.governance.chain(call.boundary, call.contract)
    try:
        return await chain.arun(filters, call, inside)
    except GraphInterrupt as question:
        call.node.question = question
        raise


def stream_inner(
    call: ModelCall, produce: Callable[[Any], Iterator[Any]], fold: Callable[[list[Any]], Any]
) -> Iterator[Any]:
    """Stream a model inside its chain; the current call is set only while a piece is fetched."""

    def inside(inner: Any) -> Iterator[Any]:
        pieces = produce(inner)
        while True:
            token = CURRENT.set(inner)
            try:
                piece = next(pieces, END_OF_STREAM)
            finally:
                CURRENT.reset(token)
            if piece is END_OF_STREAM:
                return
            call.streamed = inner.streamed = True
            yield piece

    filters = call.governance.chain(call.boundary, call.contract)
    yield from streams.stream(chain.Chain(filters, call), inside, fold)


async def astream_inner(
    call: ModelCall, produce: Callable[[Any], AsyncIterator[Any]], fold: Callable[[list[Any]], Any]
) -> AsyncIterator[Any]:
    """`stream_inner` for async code."""

    async def inside(inner: Any) -> AsyncGenerator[Any, None]:
        pieces = produce(inner).__aiter__()
        try:
            while True:
                token = CURRENT.set(inner)
                try:
                    piece = await anext(pieces, END_OF_STREAM)
                finally:
                    CURRENT.reset(token)
                if piece is END_OF_STREAM:
                    return
                call.streamed = inner.streamed = True
                yield piece
        finally:
            if hasattr(pieces, "aclose"):
                await pieces.aclose()

    filters = call.governance.chain(call.boundary, call.contract)
    async for piece in streams.astream(chain.Chain(filters, call), inside, fold):
        yield piece


END_OF_STREAM = object()
