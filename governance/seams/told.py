"""Seam 5, runs: with what a run of a governed graph begins, and where it comes to rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph._internal._constants import CONF, CONFIG_KEY_RUNTIME
from langgraph.channels.base import BaseChannel
from langgraph.errors import EmptyChannelError, GraphDrained, GraphInterrupt
from langgraph.pregel._loop import PregelLoop, SyncPregelLoop

from governance.current import current_call
from governance.likeness import like
from governance.runs import Begun, End, Rested
from governance.seams import sagas
from governance.seams.graphs import governance_of
from governance.seams.identity import session_of

OWN = ("__", "checkpoint_", "langgraph_", "thread_id", "run_id")
"""How the keys of `configurable` begin that are not the author's."""


def install() -> None:
    """Class-wide, like the other seams of runs; one look a run where nobody asked for more."""
    first, rest = PregelLoop._first, PregelLoop._suppress_interrupt

    @like(first)
    def begins(self: Any, *args: Any, **kwargs: Any) -> Any:
        governance = _told(self)
        if governance is not None and governance.records.begun is not None:
            governance.records.begun(governance, _session(self), _begun(self))
        found = first(self, *args, **kwargs)
        if sagas.expects():
            sagas.began(self, _session(self))
        return found

    @like(rest)
    def rests(self: Any, kind: Any, error: Any, trace: Any) -> Any:
        suppressed = rest(self, kind, error, trace)
        governance = _told(self)
        if governance is not None and governance.records.rested is not None:
            governance.records.rested(governance, _session(self), _rested(self, error))
        if sagas.knows(self):
            sagas.rested(self, _end(self, error))
        return suppressed

    PregelLoop._first = begins  # type: ignore[method-assign]  # seam: a run without a thread is named nowhere else
    PregelLoop._suppress_interrupt = rests  # type: ignore[method-assign,assignment]  # a seam


def _told(loop: Any) -> Any:
    """Whose run this is, where it is one of its own and no part of another."""
    return None if loop.is_nested or current_call() is not None else governance_of(loop)


def _session(loop: Any) -> str:
    conf = loop.config[CONF]
    return session_of(conf, conf.get(CONFIG_KEY_RUNTIME))


def _begun(loop: Any) -> Begun:
    conf = loop.config[CONF]
    return Begun(
        given=loop.input,
        plainly=isinstance(loop, SyncPregelLoop),
        saved=loop.checkpointer is not None,
        rewinds=bool(loop._addressed_checkpoint_superseded),
        before=_names(loop.interrupt_before),
        after=_names(loop.interrupt_after),
        configured={key: value for key, value in conf.items() if not key.startswith(OWN)},
        context=getattr(conf.get(CONFIG_KEY_RUNTIME), "context", None),
        limit=loop.config["recursion_limit"],
    )


def _names(stops: Any) -> tuple[str, ...]:
    return (stops,) if isinstance(stops, str) else tuple(stops or ())


def _rested(loop: Any, error: BaseException | None) -> Rested:
    end = _end(loop, error)
    return Rested(end, None, type(error).__name__) if end in ("failed", "left") else Rested(end, _state(loop))


def _end(loop: Any, error: BaseException | None) -> End:
    if error is None:
        return "drained" if loop.status == "draining" else "done"
    if isinstance(error, GraphDrained):
        return "drained"
    if isinstance(error, GraphInterrupt):
        return "interrupted"
    return "failed" if isinstance(error, Exception) else "left"


def _state(loop: Any) -> Mapping[str, Any]:
    """What the channels of the graph's own state hold."""
    keys = loop.stream_keys
    found = {}
    for key in (keys,) if isinstance(keys, str) else keys:
        channel = loop.channels.get(key)
        if isinstance(channel, BaseChannel):
            try:
                found[key] = channel.get()
            except EmptyChannelError:
                continue
    return found
