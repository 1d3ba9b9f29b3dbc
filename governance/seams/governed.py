"""Seam 1, what LangGraph runs for a node: its chain around the author's code, then the node's writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import Context, copy_context
from typing import Any, TypeVar

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackManager, BaseRunManager, CallbackManager
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
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
from governance.seams.steps import Step

Manager = TypeVar("Manager", bound=BaseCallbackManager)


class Governed(Runnable[Any, Any]):
    """The first step of a governed node: its chain, and inside it the author's code."""

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
    """What LangGraph runs for a governed node: the chain around the author's code, then the writers.

    Where no callback handler listens, the same steps run without the callback managers that LangGraph
    makes for its own channel writers, which ask for none; this pays for a part of what governance costs.
    """

    def __init__(self, step: Step, node: PregelNode) -> None:
        super().__init__(Governed(step), *node.flat_writers, trace_policy=node.trace_policy)
        self.step = step
        self.governed = Governed(step)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return super().invoke(input, config, **kwargs)
        call, guarded = opened
        with entered(call):
            if _heard(guarded):
                return super().invoke(input, guarded, **kwargs)
            manager, inner = self._start(input, guarded), self.step.inner
            try:
                own = patch_config(guarded, callbacks=_unheard(CallbackManager, manager))
                value = _configured(own).run(
                    self.governed.judged, call, lambda given: inner.invoke(given, own, **kwargs)
                )
                for number, writer in enumerate(self.steps[1:], 2):
                    if type(writer) is ChannelWrite:
                        writer._write(value, guarded)
                    else:
                        own = patch_config(guarded, callbacks=manager.get_child(f"seq:step:{number}"))
                        value = writer.invoke(value, own)
            except BaseException as error:
                manager.on_chain_error(error)
                raise
            self._end(manager, value)
            return value

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return await super().ainvoke(input, config, **kwargs)
        call, guarded = opened
        with entered(call):
            if _heard(guarded):
                return await super().ainvoke(input, guarded, **kwargs)
            manager, inner = await self._astart(input, guarded), self.step.inner
            try:
                own = patch_config(guarded, callbacks=_unheard(AsyncCallbackManager, manager))
                judged = self.governed.ajudged(call, lambda given: inner.ainvoke(given, own, **kwargs))
                value = await asyncio.create_task(judged, context=_configured(own))
                for number, writer in enumerate(self.steps[1:], 2):
                    if type(writer) is ChannelWrite:
                        writer._write(value, guarded)
                    else:
                        own = patch_config(guarded, callbacks=manager.get_child(f"seq:step:{number}"))
                        value = await writer.ainvoke(value, own)
            except BaseException as error:
                await manager.on_chain_error(error)
                raise
            await self._aend(manager, value)
            return value

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


def _heard(config: RunnableConfig) -> bool:
    """Whether a callback handler may listen to this node's run."""
    callbacks = config.get("callbacks")
    return not isinstance(callbacks, BaseCallbackManager) or bool(callbacks.handlers)


def _unheard(kind: type[Manager], run: BaseRunManager) -> Manager:
    """`get_child` of a run without handlers: what it passes down was merged when the run began."""
    tags, metadata = run.inheritable_tags, run.inheritable_metadata
    return kind(
        handlers=[],
        parent_run_id=run.run_id,
        tags=[*tags, "seq:step:1"],
        inheritable_tags=tags.copy(),
        metadata=metadata.copy(),
        inheritable_metadata=metadata.copy(),
    )


def _configured(config: RunnableConfig) -> Context:
    """A context in which LangGraph and LangChain find this config."""
    context = copy_context()
    context.run(var_child_runnable_config.set, config)
    return context


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
