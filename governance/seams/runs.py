"""Seam 5: every run and every change of state of a governed graph passes here, copies included."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, closing, nullcontext
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_TASK_ID,
    CONFIG_KEY_THREAD_ID,
)
from langgraph.constants import START
from langgraph.pregel import Pregel
from langgraph.types import Command

from governance import doors
from governance.call import Call
from governance.current import current_call
from governance.errors import (
    ContractViolation,
    DoorClosed,
)
from governance.likeness import like

if TYPE_CHECKING:
    from governance.sidecar import Governance
from governance.seams import sagas, told
from governance.seams.declared import Graph
from governance.seams.execution import final
from governance.seams.graphs import attach_steps, governance_of, step_of
from governance.seams.identity import RUN


def _enter(graph: Graph, given: Any, config: RunnableConfig | None, *, rewinds: bool) -> Any:
    """Seam 5, runs: judges what a run starts with; governs a nested graph that nobody governed yet."""
    governance = governance_of(graph)
    if governance is None:
        return given
    governance.begin()
    late = [n for n, node in graph.nodes.items() if n != START and node.node is not None and step_of(node) is None]
    if late and governance.enforcing:
        raise DoorClosed(f"node {late[0]!r} was attached after govern(); govern the graph again", code="late-node")
    if late:
        attach_steps(graph, governance)
    if governance.enforcing:
        _refuse_caches(graph, governance, None)
    conf = _conf(graph, config)
    session = str(conf.get(CONFIG_KEY_THREAD_ID) or "")
    return doors.checked_input(governance, session, given, rewinds=rewinds)


def _enter_nested(graph: Graph, given: Any, config: RunnableConfig | None, parent: Call) -> None:
    """Seam 5, nested runs: judged by the graph's own governance where it enforces one, else by the parent's."""
    own = governance_of(graph)
    own = None if own is None else parent.governance.counterpart(own)
    governance = own if own is not None and own.enforcing else parent.governance
    if isinstance(given, Command):
        if given.update is not None or given.goto:
            doors.check_update(governance, parent.session.id, "Command(update=, goto=) as input", {})
        doors.check_nested_resume(governance, given, parent)
    around = (var_child_runnable_config.get() or {}).get(CONF) or {}
    named = {**around, **((graph.config or {}).get(CONF) or {}), **((config or {}).get(CONF) or {})}
    given_conf = (config or {}).get(CONF) or {}
    # LangGraph's own map for a nested run comes with the task it runs in; one without names a checkpoint.
    mapped = CONFIG_KEY_TASK_ID not in given_conf and given_conf.get(CONFIG_KEY_CHECKPOINT_MAP)
    if own is not None and (named.get(CONFIG_KEY_CHECKPOINT_ID) or mapped):
        doors.check_update(governance, parent.session.id, "a rewind to an earlier checkpoint", {})
    attach_steps(graph, parent.governance, nested=True, above=f"{parent.node.place}/")
    _refuse_caches(graph, parent.governance, parent)


def _refuse_caches(graph: Graph, governance: Governance, parent: Call | None) -> None:
    """A cache hit would run nothing of the chain; looked at again at each run, as a policy may come later."""
    for name, node in graph.nodes.items():
        step = step_of(node)
        if name == START or step is None or not (node.cache_policy or graph.cache_policy):
            continue
        binding, place = (governance, name) if parent is None else step.binding(parent)
        contract = binding.contract(place)
        if binding.enforcing and contract is not None and contract.enforced and "cache" not in contract.waives:
            closed = DoorClosed(f"{place} is cached: a hit would pass its contract by; remove it or waive 'cache'")
            raise parent.node.refuse(closed) if parent is not None and parent.governance.enforcing else closed


def _conf(graph: Graph, config: RunnableConfig | None) -> dict[str, Any]:
    """What the run is configured with, from its surroundings down, as LangGraph will merge it."""
    given = {**((graph.config or {}).get(CONF) or {}), **((config or {}).get(CONF) or {})}
    around = (var_child_runnable_config.get() or {}).get(CONF) or {}
    if any(given.get(key) for key in (CONFIG_KEY_THREAD_ID, CONFIG_KEY_CHECKPOINT_ID, CONFIG_KEY_CHECKPOINT_NS)):
        return given
    return {**around, **given}


def _is_head(conf: Mapping[str, Any], snapshot: Any) -> bool:
    head = snapshot.config.get(CONF, {}).get(CONFIG_KEY_CHECKPOINT_ID)
    return all(named == head for named in _named_checkpoints(conf))


def _named_checkpoints(conf: Mapping[str, Any]) -> list[Any]:
    """Every checkpoint a run may begin at by its config: LangGraph prefers the map to the id."""
    mapped = conf.get(CONFIG_KEY_CHECKPOINT_MAP)
    spaces = ("", conf.get(CONFIG_KEY_CHECKPOINT_NS)) if isinstance(mapped, Mapping) else ()
    inner = [mapped.get(ns) for ns in spaces] if isinstance(mapped, Mapping) else []
    return [one for one in (conf.get(CONFIG_KEY_CHECKPOINT_ID), *inner) if one]


def _addresses_checkpoint(graph: Graph, config: RunnableConfig | None) -> bool:
    """Whether a run names a checkpoint, and somebody has to find out if that is a rewind."""
    conf = _conf(graph, config)
    if not _named_checkpoints(conf) or current_call() is not None:
        return False
    governance = governance_of(graph)
    return governance is not None and governance.enforcing and governance.doors == "closed"


def _at_head(graph: Graph, config: RunnableConfig | None) -> RunnableConfig:
    """The same thread without a checkpoint named, which is its newest."""
    kept = {k: v for k, v in _conf(graph, config).items() if k != CONFIG_KEY_CHECKPOINT_MAP}
    # Set to None, not left out: the graph's own config would fill it in again.
    return {**(config or {}), CONF: {**kept, CONFIG_KEY_CHECKPOINT_ID: None}}


def install() -> None:
    """Seam 5: class-wide, so that copies of a governed graph (a server makes one per request) have it too."""
    stream: Callable[..., Any] = Pregel.stream
    astream: Callable[..., Any] = Pregel.astream
    bulk, abulk = Pregel.bulk_update_state, Pregel.abulk_update_state

    def nested_stream(self: Graph, parent: Call, run: int, given: Any, config: Any, kwargs: Any) -> Iterator[Any]:
        with final(parent) if parent.governance.enforcing else nullcontext():
            RUN.set(run)
            with closing(stream(self, given, config, **kwargs)) as pieces:
                for piece in pieces:
                    yield piece
                    RUN.set(run)  # meanwhile the node may have read a piece of another run

    async def nested_astream(
        self: Graph, parent: Call, run: int, given: Any, config: Any, kwargs: Any
    ) -> AsyncIterator[Any]:
        with final(parent) if parent.governance.enforcing else nullcontext():
            RUN.set(run)
            async with aclosing(astream(self, given, config, **kwargs)) as pieces:
                async for piece in pieces:
                    yield piece
                    RUN.set(run)

    @like(stream)
    def governed_stream(self: Graph, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        parent = current_call()
        if parent is not None:
            _enter_nested(self, input, config, parent)
            return nested_stream(self, parent, parent.node.next_ordinal("@run"), input, config, kwargs)
        rewinds = _addresses_checkpoint(self, config) and not (
            self.checkpointer and _is_head(_conf(self, config), self.get_state(_at_head(self, config)))
        )
        given = _enter(self, input, config, rewinds=rewinds)
        saga = sagas.saga_of(self)
        if saga is None:
            return stream(self, given, config, **kwargs)
        conf = _conf(self, config)
        return sagas.stream(
            saga, conf, given, bool(_named_checkpoints(conf)), lambda: stream(self, given, config, **kwargs)
        )

    async def at_checkpoint(self: Graph, input: Any, config: RunnableConfig | None, kwargs: Any) -> AsyncIterator[Any]:
        rewinds = not (
            self.checkpointer and _is_head(_conf(self, config), await self.aget_state(_at_head(self, config)))
        )
        async for piece in begun(self, _enter(self, input, config, rewinds=rewinds), config, kwargs):
            yield piece

    def begun(self: Graph, given: Any, config: RunnableConfig | None, kwargs: Any) -> AsyncIterator[Any]:
        saga = sagas.saga_of(self)
        if saga is None:
            return astream(self, given, config, **kwargs)  # type: ignore[no-any-return]  # `like` keeps no type
        conf = _conf(self, config)
        return sagas.astream(
            saga, conf, given, bool(_named_checkpoints(conf)), lambda: astream(self, given, config, **kwargs)
        )

    @like(astream)
    def governed_astream(self: Graph, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        parent = current_call()
        if parent is not None:
            _enter_nested(self, input, config, parent)
            return nested_astream(self, parent, parent.node.next_ordinal("@run"), input, config, kwargs)
        if _addresses_checkpoint(self, config):
            return at_checkpoint(self, input, config, kwargs)
        return begun(self, _enter(self, input, config, rewinds=False), config, kwargs)

    @like(bulk)
    def governed_bulk(self: Graph, config: RunnableConfig, supersteps: Any) -> Any:
        _enter_update(self, config, supersteps)
        return bulk(self, config, supersteps)

    @like(abulk)
    async def governed_abulk(self: Graph, config: RunnableConfig, supersteps: Any) -> Any:
        _enter_update(self, config, supersteps)
        return await abulk(self, config, supersteps)

    told.install()
    _patch_readers()
    Pregel.stream, Pregel.astream = governed_stream, governed_astream  # type: ignore[method-assign]  # a seam
    Pregel.bulk_update_state, Pregel.abulk_update_state = governed_bulk, governed_abulk  # type: ignore[method-assign]  # a seam


def _patch_readers() -> None:
    """A node sees of its own session what its contract lets it read, not what the checkpointer holds."""

    def guarded(name: str) -> Any:
        original = getattr(Pregel, name)

        @like(original)
        def read(self: Graph, config: RunnableConfig, *args: Any, **kwargs: Any) -> Any:
            call = current_call()
            if call is not None and call.node.bound.enforced and call.contract.reads is not None:
                thread = (config.get(CONF) or {}).get(CONFIG_KEY_THREAD_ID)
                if thread is None or str(thread) == call.session.id:
                    raise call.node.refuse(
                        ContractViolation(f"{call.node.place} read the whole state of its session by {name}")
                    )
            return original(self, config, *args, **kwargs)

        return read

    for name in ("get_state", "aget_state", "get_state_history", "aget_state_history"):
        setattr(Pregel, name, guarded(name))


def _enter_update(graph: Graph, config: RunnableConfig, supersteps: Any) -> None:
    parent, governance = current_call(), governance_of(graph)
    if parent is not None and (governance is None or not governance.enforcing):
        governance = parent.governance
    if governance is None:
        return
    updates = [update for step in supersteps for update in step]
    facts = {
        "as_node": [u.as_node for u in updates],
        "keys": [
            sorted(map(str, u.values or {})) if isinstance(u.values, Mapping) else type(u.values).__name__
            for u in updates
        ],
    }
    session = str(_conf(graph, config).get(CONFIG_KEY_THREAD_ID) or "")
    doors.check_update(governance, session, "update_state", facts)
    if governance.records.changed is not None:
        governance.records.changed(governance, session, supersteps)
