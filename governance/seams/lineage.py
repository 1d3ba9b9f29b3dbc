"""How far the steps of a thread are ahead of those its nodes ran in: by forks, and by changes of state from outside.

LangGraph stores a checkpoint of its own for each of these, and counts a step for it in which no node ran.
A node that is run again from an earlier checkpoint would so be in another step, and whatever it did there
before, in another place. Each checkpoint of a fork therefore carries how many such steps lie behind it:
among the versions its nodes have seen, which LangGraph hands on from checkpoint to checkpoint.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_CHECKPOINTER
from langgraph.pregel import Pregel
from langgraph.pregel import main as pregel_main
from langgraph.pregel._loop import PregelLoop
from langgraph.types import StateSnapshot

from governance.likeness import like
from governance.seams.declared import Graph
from governance.seams.graphs import governance_of
from governance.seams.identity import AHEAD

main: Any = pregel_main
MARK = "__sidecar__"
"""Stands among the names of the nodes; no node may be called so."""
WANTED: list[tuple[Any, Sequence[str]]] = [
    (PregelLoop, ("_first", "_put_checkpoint")),
    (Pregel, ("bulk_update_state", "abulk_update_state")),
    (main, ("create_checkpoint",)),
]
_changes: contextvars.ContextVar[Iterator[int] | None] = contextvars.ContextVar("sidecar_changes", default=None)
"""Within a change of state: for each of its steps, how many no node ran in."""
_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("sidecar_inside", default=False)
FAR = 16
"""Checkpoints looked back for the author of a change."""


def install() -> None:
    _patch_loops()
    _patch_updates()


def _patch_loops() -> None:
    first, put = PregelLoop._first, PregelLoop._put_checkpoint

    @like(first)
    def begun(self: Any, **given: Any) -> Any:
        _tell_tasks(self)
        return first(self, **given)

    @like(put)
    def counted(self: Any, metadata: Any) -> None:
        if metadata.get("source") == "fork" and metadata is not self.checkpoint_metadata:
            _go_ahead(self.checkpoint, 1)
            _tell_tasks(self)
        put(self, metadata)

    PregelLoop._first, PregelLoop._put_checkpoint = begun, counted  # type: ignore[method-assign]  # a seam


def _ahead(checkpoint: Any) -> int:
    seen = checkpoint["versions_seen"]
    return int(next(iter(seen[MARK]))) if MARK in seen else 0


def _go_ahead(checkpoint: Any, by: int) -> None:
    # The number is a key: a version of 0 is to LangGraph as if nothing had been seen, and so it should be.
    if by:
        checkpoint["versions_seen"][MARK] = {str(_ahead(checkpoint) + by): 0}


def _tell_tasks(loop: Any) -> None:
    conf, ahead = loop.config[CONF], _ahead(loop.checkpoint)
    if conf.get(AHEAD, 0) != ahead:  # what a nested run inherits is of the run above
        loop.config = {**loop.config, CONF: {**conf, AHEAD: ahead}}


def _patch_updates() -> None:
    bulk, abulk, create = Pregel.bulk_update_state, Pregel.abulk_update_state, main.create_checkpoint

    @like(bulk)
    def update(self: Graph, config: RunnableConfig, supersteps: Any) -> Any:
        saver = _saver(self, config)
        if saver is None:
            with _addressed(self):
                return bulk(self, config, supersteps)
        at = self.get_state(config)
        lineage = _Lineage(self, config, at, supersteps)
        while (above := lineage.above()) is not None:
            lineage.add(saver.get_tuple(above))
        with lineage.changing():
            return bulk(self, config, supersteps)

    @like(abulk)
    async def aupdate(self: Graph, config: RunnableConfig, supersteps: Any) -> Any:
        saver = _saver(self, config)
        if saver is None:
            with _addressed(self):
                return await abulk(self, config, supersteps)
        at = await self.aget_state(config)
        lineage = _Lineage(self, config, at, supersteps)
        while (above := lineage.above()) is not None:
            lineage.add(await saver.aget_tuple(above))
        with lineage.changing():
            return await abulk(self, config, supersteps)

    @like(create)
    def created(checkpoint: Any, *args: Any, **kwargs: Any) -> Any:
        changes = _changes.get()
        if changes is not None:
            _go_ahead(checkpoint, next(changes, 1))
        return create(checkpoint, *args, **kwargs)

    main.create_checkpoint = created
    Pregel.bulk_update_state, Pregel.abulk_update_state = update, aupdate  # type: ignore[method-assign]  # a seam


def _saver(graph: Graph, config: RunnableConfig) -> Any:
    """What keeps the thread whose state is changed here; None where nobody governs it, or a graph inside is meant."""
    conf = config.get(CONF) or {}
    if CONFIG_KEY_CHECKPOINTER in conf:
        return conf[CONFIG_KEY_CHECKPOINTER] if _inside.get() or governance_of(graph) is not None else None
    return graph.checkpointer if governance_of(graph) is not None and not conf.get(CONFIG_KEY_CHECKPOINT_NS) else None


@contextmanager
def _addressed(graph: Graph) -> Iterator[None]:
    """LangGraph hands a change of a graph inside on to that graph, which is governed as this one is."""
    token = _inside.set(governance_of(graph) is not None)
    try:
        yield
    finally:
        _inside.reset(token)


class _Lineage:
    """The checkpoint whose state is changed, and those above it, as far as somebody has to look.

    A change that stands in for a node which was to run next takes that node's step; in any other, no node ran.
    One in nobody's name is to LangGraph one of the node that ran last, and what followed that node follows anew:
    in the steps in which it did, however many lie in between.
    """

    def __init__(self, graph: Graph, config: RunnableConfig, at: StateSnapshot, supersteps: Any) -> None:
        self.graph = graph
        self.config = config
        self.steps = [[one.as_node for one in step] for step in supersteps]
        self.at = at
        self.next = frozenset(at.next)
        self.author: str | None = None
        self.over = False
        self.found: list[Any] = []

    def above(self) -> RunnableConfig | None:
        """The next checkpoint to look at; None when the author's own is known, or nobody asks for it."""
        if self.over or not self.steps or None not in self.steps[0]:
            return None
        if not self.found:
            return self._here(self.at.config)
        if self.author is None or len(self.found) == FAR:
            return None
        seen = [one.checkpoint["versions_seen"].get(self.author) for one in (self.found[0], self.found[-1])]
        parent = self.found[-1].parent_config
        return None if seen[0] != seen[1] or parent is None else self._here(parent)

    def add(self, found: Any) -> None:
        if found is None:
            self.over = True  # a thread without a checkpoint
            return
        self.found.append(found)
        if len(self.found) == 1:
            self.author = self.graph._infer_as_node(found.checkpoint["versions_seen"])

    @contextmanager
    def changing(self) -> Iterator[None]:
        idle = [self._idle(names, first=number == 0) for number, names in enumerate(self.steps)]
        token = _changes.set(iter(idle))
        try:
            yield
        finally:
            _changes.reset(token)

    def _idle(self, names: list[str | None], *, first: bool) -> int:
        if first and all(name in self.next for name in names):
            return 0
        if not first or None not in names or len(self.found) < 2:
            return 1
        # The last one found is from before the author ran, so the one below it is what the author made.
        own = [one.metadata["step"] - _ahead(one.checkpoint) for one in (self.found[0], self.found[-2])]
        return int(own[0] - own[1]) + 1

    def _here(self, config: RunnableConfig) -> RunnableConfig:
        # What only the given config has: a saver that was lent to this graph.
        return {**self.config, CONF: {**self.config.get(CONF, {}), **config[CONF]}}
