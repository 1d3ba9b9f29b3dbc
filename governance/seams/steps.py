"""Seam 1: what LangGraph runs for a node, with its chain around the author's code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSequence
from langchain_core.runnables.config import patch_config
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_RUNTIME,
    PULL,
)
from langgraph._internal._runnable import RunnableSeq
from langgraph.constants import START
from langgraph.pregel._read import PregelNode

from governance.bound import Bound, Declared
from governance.boundary import (
    CURRENT,
    EXECUTIONS,
    arun_node,
    current_call,
    mark_place,
    missing_contract,
    run_node,
    unmark_place,
)
from governance.call import Call, NodeCall

if TYPE_CHECKING:
    from governance.sidecar import Governance
from governance.seams.execution import entered
from governance.seams.guard import guarded_conf
from governance.seams.identity import branch, prefix, session_of


class Step:
    """One node of one compiled graph; `root` is set where `govern` was called on that very graph."""

    __slots__ = ("bounds", "declared", "inner", "name", "root")

    def __init__(self, name: str, node: PregelNode, declared: Declared) -> None:
        self.name = name
        self.inner: Runnable[Any, Any] = node.bound
        if name == START:
            self.inner = Unchanged()
        elif isinstance(node.bound, RunnableSequence):
            self.inner = Flat(node.bound)
        self.declared = declared
        self.root: Governance | None = None
        self.bounds: dict[str, Bound] = {}

    def bind(self, parent: Call | None) -> tuple[str, Bound] | None:
        """Where this execution is and what binds it; None where nothing governs it."""
        if parent is None:
            return None if self.root is None else (self.name, self._bound(self.name, self.root, None))
        place = f"{parent.node.place}/{self.name}"
        narrower = self.root is not None and (self.root.enforcing or not parent.governance.enforcing)
        if self.root is not None and narrower and parent.governance.contract(place) is None:
            return self.name, self._bound(self.name, self.root, parent)  # a governed graph brings its own
        return place, self._bound(place, parent.governance, parent)

    def _bound(self, place: str, governance: Governance, parent: Call | None) -> Bound:
        known = self.bounds.get(place)
        if known is None or known.governance is not governance:
            known = governance.bind(place, self.declared)
            if known is None:
                raise missing_contract(place, parent)
            self.bounds[place] = known
        return known

    def open(self, given: Any, config: RunnableConfig | None) -> tuple[NodeCall, RunnableConfig] | None:
        """The call of this execution and its guarded config; None where nothing governs it."""
        parent = current_call()
        found = self.bind(parent)
        if found is None or config is None:
            return None
        place, bound = found
        conf, metadata, governance = config[CONF], config["metadata"], bound.governance
        way = metadata.get("langgraph_path") or (PULL,)
        runtime = conf.get(CONFIG_KEY_RUNTIME)
        session = parent.session if parent is not None else governance.session(session_of(conf, runtime))
        info = getattr(runtime, "execution_info", None)
        path = f"{self.name}#{metadata.get('langgraph_step', 0)}"
        if way[0] != PULL:
            path += branch(way)
        if parent is not None:
            path = prefix(parent, conf) + path
        call = NodeCall(
            self.name, path, EXECUTIONS.next(), governance, session, bound.contract, parent,
            place, config, info.node_attempt if info is not None else 1, given, way[0] == PULL, bound,
        )  # fmt: skip
        call.input, call.origin = given, self
        guarded = {**config, CONF: guarded_conf(conf, call)}
        if bound.contract.gates and bound.contract.stream == "mark":
            guarded["metadata"] = {**metadata, "governance": "unverified"}
        return call, guarded  # type: ignore[return-value]


class Unchanged(Runnable[Any, Any]):
    """The input as it is: what a graph's entry is before its edges choose the first node."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return input


class Flat(Runnable[Any, Any]):
    """An LCEL sequence run as LangGraph runs it inside a node: one after the other, without a run of its own."""

    def __init__(self, sequence: RunnableSequence[Any, Any]) -> None:
        self.steps = sequence.steps

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        value = self.steps[0].invoke(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            value = step.invoke(value, _tagged(config, number))
        return value

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        value = await self.steps[0].ainvoke(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            value = await step.ainvoke(value, _tagged(config, number))
        return value

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        pieces = self.steps[0].stream(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            pieces = step.transform(pieces, _tagged(config, number))
        yield from pieces

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        pieces = self.steps[0].astream(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            pieces = step.atransform(pieces, _tagged(config, number))
        async for piece in pieces:
            yield piece


def _tagged(config: RunnableConfig | None, number: int) -> RunnableConfig | None:
    """The config of the n-th step of a sequence: the same parent run, with that step's tag."""
    manager = (config or {}).get("callbacks")
    if config is None or not isinstance(manager, BaseCallbackManager):
        return config
    child = manager.copy()
    child.tags = [f"seq:step:{number}" if tag == "seq:step:1" else tag for tag in child.tags]
    return patch_config(config, callbacks=child)


class Governed(Runnable[Any, Any]):
    """The first step of a governed node: its chain, and inside it the author's code."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def _own(self) -> NodeCall | None:
        call = CURRENT.get()
        return call if isinstance(call, NodeCall) and call.origin is self.step else None

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        call, inner = self._own(), self.step.inner
        if call is None:
            return inner.invoke(input, config, **kwargs)

        def perform(node: NodeCall) -> Any:
            node.state = "running"
            try:
                return inner.invoke(node.input, config, **kwargs)
            finally:
                node.state = "judged"

        result = run_node(call, perform)
        call.state = "sending"
        return result

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        call, inner = self._own(), self.step.inner
        if call is None:
            return await inner.ainvoke(input, config, **kwargs)

        async def perform(node: NodeCall) -> Any:
            node.state, mark = "running", mark_place(node)  # LangGraph runs the step in a task of its own
            try:
                return await inner.ainvoke(node.input, config, **kwargs)
            finally:
                unmark_place(mark)
                node.state = "judged"

        result = await arun_node(call, perform)
        call.state = "sending"
        return result

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        call, inner = self._own(), self.step.inner
        if call is None:
            yield from inner.stream(input, config, **kwargs)
            return

        def perform(node: NodeCall) -> Any:
            node.state = "running"
            try:
                return _sum(list(inner.stream(node.input, config, **kwargs)))
            finally:
                node.state = "judged"

        result = run_node(call, perform)
        call.state = "sending"
        yield result

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        call, inner = self._own(), self.step.inner
        if call is None:
            async for piece in inner.astream(input, config, **kwargs):
                yield piece
            return

        async def perform(node: NodeCall) -> Any:
            node.state, mark = "running", mark_place(node)
            try:
                return _sum([piece async for piece in inner.astream(node.input, config, **kwargs)])
            finally:
                unmark_place(mark)
                node.state = "judged"

        result = await arun_node(call, perform)
        call.state = "sending"
        yield result


class GovernedSeq(RunnableSeq):
    """What LangGraph runs for a governed node: the chain around the author's code, then the writers."""

    def __init__(self, step: Step, node: PregelNode) -> None:
        super().__init__(Governed(step), *node.flat_writers, trace_policy=node.trace_policy)
        self.step = step

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return super().invoke(input, config, **kwargs)
        with entered(opened[0]):
            return super().invoke(input, opened[1], **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return await super().ainvoke(input, config, **kwargs)
        with entered(opened[0]):
            return await super().ainvoke(input, opened[1], **kwargs)

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
