"""Reducers of a state run between the nodes, where no contract holds: in enforce mode they may only reduce."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from langgraph._internal._constants import CONF, CONFIG_KEY_RUNTIME
from langgraph.channels.base import BaseChannel
from langgraph.pregel import Pregel, _loop, main
from langgraph.pregel._loop import PregelLoop

from governance.bound import UNDECLARED, Bound
from governance.boundary import EXECUTIONS
from governance.call import NodeCall
from governance.contracts import Contract
from governance.current import current_call
from governance.errors import AuthorityRefused, Refusal
from governance.likeness import like
from governance.seams.graphs import governance_of
from governance.seams.identity import session_of
from governance.threads import carried

if TYPE_CHECKING:
    from governance.sidecar import Governance

NAME = "reducers"
NOTHING = Contract()
KNOWN = ("langgraph.", "_operator", "operator", "builtins", "governance.")
"""Modules whose reducers are none of the author's code."""
WANTED: list[tuple[Any, tuple[str, ...]]] = [
    (PregelLoop, ("_first", "after_tick", "_suppress_interrupt")),
    (Pregel, ("_prepare_state_snapshot", "_aprepare_state_snapshot")),
    (_loop, ("apply_writes",)),
    (main, ("apply_writes",)),
]

Opens = Callable[[], NodeCall | None]
_writing: contextvars.ContextVar[Opens | None] = contextvars.ContextVar("sidecar_writing", default=None)
"""Makes the call in which the reducers of the graph that is being written run."""


class Reduction(NodeCall):
    """What runs while writes are put into the state. From the start it may do nothing; `tried` tells that it did."""

    tried = False

    def refuse(self, refusal: Refusal) -> Refusal:
        self.tried = True
        return super().refuse(refusal)


def _opens(graph: Any, channels: Mapping[str, Any], config: Any) -> Opens | None:
    """How to open that call; None where nothing governs the graph, or no reducer is the author's."""
    if not _authored(channels):
        return None
    governance = governance_of(graph)
    if governance is None:
        return None
    return lambda: _open(governance, config, getattr(graph, "step", None))


def _open(governance: Governance, config: Any, step: int | None) -> NodeCall | None:
    parent = current_call()
    if parent is not None and (parent.governance.enforcing or not governance.enforcing):
        return None  # the graph runs inside a node, and so do its reducers
    conf = config.get(CONF) or {}
    session = governance.session(session_of(conf, conf.get(CONFIG_KEY_RUNTIME)))
    contract = NOTHING if governance.enforcing else governance.contract(NAME)
    assert contract is not None
    path = NAME if step is None else f"{NAME}#{step}"
    bound = Bound(NAME, governance, contract, UNDECLARED, ())
    call = Reduction(NAME, path, EXECUTIONS.next(), governance, session, contract, parent, config, 1, {}, False, bound)
    call.state = "running"
    if governance.enforcing:
        call.refusal = AuthorityRefused(
            "a reducer of the state tried to act: it runs between the nodes, where no contract holds; do it in a node",
            code="reducer",
        )
    return call


def _authored(channels: Mapping[str, Any]) -> bool:
    """Whether any reducer is code of the author's; remembered, as every run of a graph asks."""
    known = _known.get(id(channels))
    if known is None or known[0] is not channels or known[1] != len(channels):
        while len(_known) >= KNOWN_KEPT:
            _known.pop(next(iter(_known)), None)
        known = _known[id(channels)] = channels, len(channels), _any_authored(channels.values())
    return known[2]


_known: dict[int, tuple[Mapping[str, Any], int, bool]] = {}
KNOWN_KEPT = 256


def _any_authored(channels: Iterable[Any]) -> bool:
    for channel in channels:
        if not isinstance(channel, BaseChannel):
            continue  # a managed value
        reducer = getattr(channel, "operator", None) or getattr(channel, "reducer", None) or type(channel)
        if not str(getattr(reducer, "__module__", "")).startswith(KNOWN):
            return True
    return False


def _governed_writes(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def apply_writes(*args: Any, **kwargs: Any) -> Any:
        opens = _writing.get()
        call = None if opens is None else opens()
        if call is None:
            return original(*args, **kwargs)
        try:
            written = carried(call, original)(*args, **kwargs)
        finally:
            call.state = "over"
        if getattr(call, "tried", False) and call.refusal is not None:
            raise call.refusal  # the reducer may have swallowed it
        return written

    return apply_writes


def _of_a_run(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            opens = self.sidecar_opens
        except AttributeError:  # the first step of this run
            opens = self.sidecar_opens = _opens(self, self.specs, self.config)
        if opens is None:
            return original(self, *args, **kwargs)
        token = _writing.set(opens)
        try:
            return original(self, *args, **kwargs)
        finally:
            _writing.reset(token)

    return step


def _of_a_graph(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def write(self: Any, config: Any, *args: Any, **kwargs: Any) -> Any:
        token = _writing.set(_opens(self, self.channels, config))
        try:
            return original(self, config, *args, **kwargs)
        finally:
            _writing.reset(token)

    return write


def _aof_a_graph(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def write(self: Any, config: Any, *args: Any, **kwargs: Any) -> Any:
        token = _writing.set(_opens(self, self.channels, config))
        try:
            return await original(self, config, *args, **kwargs)
        finally:
            _writing.reset(token)

    return write


def install() -> None:
    """Wrap the one function that puts writes into channels, and tell it for which graph it does so."""
    for owner, names, wrap in (
        (PregelLoop, ("_first", "after_tick", "_suppress_interrupt"), _of_a_run),
        (Pregel, ("bulk_update_state", "_prepare_state_snapshot"), _of_a_graph),
        (Pregel, ("abulk_update_state", "_aprepare_state_snapshot"), _aof_a_graph),
        (_loop, ("apply_writes",), _governed_writes),
        (main, ("apply_writes",), _governed_writes),
    ):
        for name in names:
            setattr(owner, name, wrap(getattr(owner, name)))
