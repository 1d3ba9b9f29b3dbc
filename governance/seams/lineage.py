"""How far the steps of a thread are ahead of those its nodes ran in: by forks, and by changes of state from outside.

LangGraph stores a checkpoint of its own for each of these, and counts a step for it in which no node ran.
A node that is run again from an earlier checkpoint would so be in another step, and whatever it did there
before, in another place. Each checkpoint of a fork therefore carries how many such steps lie behind it:
among the versions its nodes have seen, which LangGraph hands on from checkpoint to checkpoint.
"""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINTER, PULL
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
            _go_ahead(self.checkpoint)
            _tell_tasks(self)
        put(self, metadata)

    PregelLoop._first, PregelLoop._put_checkpoint = begun, counted  # type: ignore[method-assign]  # a seam


def _ahead(checkpoint: Any) -> int:
    seen = checkpoint["versions_seen"]
    return int(next(iter(seen[MARK]))) if MARK in seen else 0


def _go_ahead(checkpoint: Any) -> None:
    # The number is a key: a version of 0 is to LangGraph as if nothing had been seen, and so it should be.
    checkpoint["versions_seen"][MARK] = {str(_ahead(checkpoint) + 1): 0}


def _tell_tasks(loop: Any) -> None:
    conf, ahead = loop.config[CONF], _ahead(loop.checkpoint)
    if conf.get(AHEAD, 0) != ahead:  # what a nested run inherits is of the run above
        loop.config = {**loop.config, CONF: {**conf, AHEAD: ahead}}


def _patch_updates() -> None:
    bulk, abulk, create = Pregel.bulk_update_state, Pregel.abulk_update_state, main.create_checkpoint

    @like(bulk)
    def update(self: Graph, config: RunnableConfig, supersteps: Any) -> Any:
        if not _is_governed(self, config):
            return bulk(self, config, supersteps)
        before = [self.get_state(config)]
        while (above := _above(before, config, supersteps)) is not None:
            before.append(self.get_state(above))
        with _changing(before, supersteps):
            return bulk(self, config, supersteps)

    @like(abulk)
    async def aupdate(self: Graph, config: RunnableConfig, supersteps: Any) -> Any:
        if not _is_governed(self, config):
            return await abulk(self, config, supersteps)
        before = [await self.aget_state(config)]
        while (above := _above(before, config, supersteps)) is not None:
            before.append(await self.aget_state(above))
        with _changing(before, supersteps):
            return await abulk(self, config, supersteps)

    @like(create)
    def created(checkpoint: Any, *args: Any, **kwargs: Any) -> Any:
        changes = _changes.get()
        for _ in range(next(changes, 0) if changes is not None else 0):
            _go_ahead(checkpoint)
        return create(checkpoint, *args, **kwargs)

    main.create_checkpoint = created
    Pregel.bulk_update_state, Pregel.abulk_update_state = update, aupdate  # type: ignore[method-assign]  # a seam


def _is_governed(graph: Graph, config: RunnableConfig) -> bool:
    saver = (config.get(CONF) or {}).get(CONFIG_KEY_CHECKPOINTER) or graph.checkpointer
    return bool(saver) and governance_of(graph) is not None


def _above(before: list[StateSnapshot], config: RunnableConfig, supersteps: Any) -> RunnableConfig | None:
    """The next checkpoint to look at, until one after which a node ran that LangGraph can take for the author.

    It knows none of the branches that a `Send` began. Nobody has to look where the author is named.
    """
    named = all(one.as_node is not None for step in supersteps[:1] for one in step)
    known = len(before) > 1 and any(task.path[0] == PULL for task in before[-1].tasks)
    parent = before[-1].parent_config
    if named or known or parent is None or len(before) == FAR:
        return None
    # What only the given config has: a saver that was lent to this graph.
    return {**config, CONF: {**config.get(CONF, {}), **parent[CONF]}}


@contextmanager
def _changing(before: list[StateSnapshot], supersteps: Any) -> Iterator[None]:
    """A change that stands in for a node which was to run next takes that node's step; in any other, no node ran.

    One in nobody's name is in that of the node which ran last: what that led to follows anew, in its own steps.
    """
    since = (max(1, len(before) - 1), *itertools.repeat(1, len(supersteps)))
    token = _changes.set(iter([_idle(before, step, far) for step, far in zip(supersteps, since, strict=False)]))
    try:
        yield
    finally:
        _changes.reset(token)


def _idle(before: list[StateSnapshot], step: Any, since: int) -> int:
    if all(one.as_node in before[0].next for one in step):
        return 0
    return since if any(one.as_node is None for one in step) else 1
