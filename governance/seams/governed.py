"""Seam 1, what LangGraph runs for a node: its chain around the author's code, then the node's writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from copy import copy
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph._internal._config import patch_config
from langgraph._internal._runnable import RunnableSeq
from langgraph.errors import ParentCommand
from langgraph.pregel._read import PregelNode
from langgraph.pregel._write import ChannelWrite

from governance.boundary import arun_node, run_node
from governance.call import NodeCall
from governance.current import CURRENT, mark_place, unmark_place
from governance.seams.execution import entered, taken_over
from governance.seams.held import shown
from governance.seams.listening import Heard, unheard
from governance.seams.steps import Step


class Governed(Runnable[Any, Any]):
    """The first step of a governed node: its chain, and inside it the author's code."""

    followed = False
    """Whether a contract says what follows its last attempt."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def _own(self) -> NodeCall | None:
        call = CURRENT.get()
        return call if isinstance(call, NodeCall) and call.origin is self.step else None

    def judged(self, call: NodeCall, work: Callable[[Any], Any]) -> Any:
        """What the chain makes of the author's work."""

        def perform(node: NodeCall) -> Any:
            node.state = "running"
            try:
                return work(node.input)
            except ParentCommand as raised:
                return taken_over(node, raised)
            finally:
                node.state = "judged"

        result = run_node(call, perform)
        call.state = "sending"
        return result

    async def ajudged(self, call: NodeCall, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """`judged` for async code; LangGraph runs it in a task of its own."""

        async def perform(node: NodeCall) -> Any:
            node.state, mark = "running", mark_place(node)
            try:
                return await work(node.input)
            except ParentCommand as raised:
                return taken_over(node, raised)
            finally:
                unmark_place(mark)
                node.state = "judged"

        result = await arun_node(call, perform)
        call.state = "sending"
        return result

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        call, inner = self._own(), self.step.inner
        if call is None:
            return inner.invoke(input, config, **kwargs)
        with shown(call, config) as own:
            return self.judged(call, lambda given: inner.invoke(given, own, **kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        call, inner = self._own(), self.step.inner
        if call is None:
            return await inner.ainvoke(input, config, **kwargs)
        with shown(call, config) as own:
            return await self.ajudged(call, lambda given: inner.ainvoke(given, own, **kwargs))

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        call, inner = self._own(), self.step.inner
        if call is None:
            yield from inner.stream(input, config, **kwargs)
            return
        with shown(call, config) as own:
            update = self.judged(call, lambda given: _sum(list(inner.stream(given, own, **kwargs))))
        yield update

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        call, inner = self._own(), self.step.inner
        if call is None:
            async for piece in inner.astream(input, config, **kwargs):
                yield piece
            return

        async def drained(given: Any) -> Any:
            return _sum([piece async for piece in inner.astream(given, own, **kwargs)])

        with shown(call, config) as own:
            update = await self.ajudged(call, drained)
        yield update


class GovernedSeq(RunnableSeq):
    """What LangGraph runs for a governed node: the chain around the author's code, then the writers."""

    followed = False
    """Whether a contract says what follows its last attempt."""

    def __init__(self, step: Step, node: PregelNode) -> None:
        super().__init__(Governed(step), *node.flat_writers, trace_policy=node.trace_policy)
        self.step = step
        self.governed = Governed(step)
        # Payloads are given to the author's policy whether anybody traces or not.
        self.traced = bool(self.trace_policy.process_inputs or self.trace_policy.process_outputs)

    def instead(self, code: Runnable[Any, Any]) -> GovernedSeq:
        """The same node, chain and writers around other code."""
        made = copy(self)
        made.step = copy(self.step)
        made.step.inner = code
        made.governed = Governed(made.step)
        made.steps = [made.governed, *self.steps[1:]]
        return made

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return super().invoke(input, config, **kwargs)
        call, guarded = opened
        with entered(call):
            quiet = None if self.traced else unheard(guarded, CallbackManager)
            listened = Heard(self._start(input, guarded)) if quiet is None else None
            run = quiet or listened
            assert run is not None
            try:
                value = run.context(guarded).run(self._first, call, guarded, listened, kwargs)
                for number, writer in enumerate(self.steps[1:], 2):
                    if type(writer) is ChannelWrite:
                        writer._write(value, guarded)
                    else:
                        value = writer.invoke(value, patch_config(guarded, callbacks=run.child(number)))
            except BaseException as error:
                if listened is not None:
                    listened.manager.on_chain_error(error)
                raise
            if listened is not None:
                self._end(listened.manager, value)
            return value

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return await super().ainvoke(input, config, **kwargs)
        call, guarded = opened
        with entered(call):
            quiet = None if self.traced else unheard(guarded, AsyncCallbackManager)
            listened = Heard(await self._astart(input, guarded)) if quiet is None else None
            run = quiet or listened
            assert run is not None
            try:
                context = run.context(guarded)
                value = await asyncio.create_task(self._afirst(call, guarded, listened, kwargs), context=context)
                for number, writer in enumerate(self.steps[1:], 2):
                    if type(writer) is ChannelWrite:
                        writer._write(value, guarded)
                    else:
                        value = await writer.ainvoke(value, patch_config(guarded, callbacks=run.child(number)))
            except BaseException as error:
                if listened is not None:
                    await listened.manager.on_chain_error(error)
                raise
            if listened is not None:
                await self._aend(listened.manager, value)
            return value

    def _first(self, call: NodeCall, config: RunnableConfig, listened: Heard | None, kwargs: dict[str, Any]) -> Any:
        if listened is not None:
            return self.governed.invoke(call.raw, config, **kwargs)
        inner = self.step.inner
        return self.governed.judged(call, lambda given: inner.invoke(given, config, **kwargs))

    def _afirst(
        self, call: NodeCall, config: RunnableConfig, listened: Heard | None, kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        if listened is not None:
            return self.governed.ainvoke(call.raw, config, **kwargs)
        inner = self.step.inner
        return self.governed.ajudged(call, lambda given: inner.ainvoke(given, config, **kwargs))

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        opened = self.step.open(input, config)
        if opened is None:
            yield from super().stream(input, config, **kwargs)
            return
        with entered(opened[0]):
            yield from super().stream(input, opened[1], **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        opened = self.step.open(input, config)
        if opened is None:
            async for piece in super().astream(input, config, **kwargs):
                yield piece
            return
        with entered(opened[0]):
            async for piece in super().astream(input, opened[1], **kwargs):
                yield piece


class GovernedAlone(Governed):
    """A governed node that has no writers, so that LangGraph runs it without a sequence."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return self.step.inner.invoke(input, config, **kwargs)
        with entered(opened[0]):
            return super().invoke(input, opened[1], **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return await self.step.inner.ainvoke(input, config, **kwargs)
        with entered(opened[0]):
            return await super().ainvoke(input, opened[1], **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        yield self.invoke(input, config, **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        yield await self.ainvoke(input, config, **kwargs)


def _sum(pieces: list[Any]) -> Any:
    """A node's streamed pieces as one update, added where they can be, else the last one (as LangGraph does)."""
    total: Any = None
    for piece in pieces:
        if total is None:
            total = piece
            continue
        try:
            total = total + piece
        except TypeError:
            total = piece
    return total
