"""Seam 1, where an execution begins: what binds it, where in the session it is, and its guarded config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableSequence
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_RUNTIME,
    PULL,
)
from langgraph.constants import START
from langgraph.pregel._read import PregelNode

from governance.bound import Bound, Declared
from governance.boundary import EXECUTIONS, missing_contract
from governance.call import Call, NodeCall
from governance.current import current_call
from governance.seams.guard import guarded_conf
from governance.seams.held import silent
from governance.seams.identity import branch, own_step, prefix, session_of
from governance.seams.lcel import Flat, Unchanged

if TYPE_CHECKING:
    from governance.sidecar import Governance

PULLED = (PULL,)


class Step:
    """One node of one compiled graph; `root` is set where `govern` was called on that very graph."""

    __slots__ = ("bounds", "declared", "inner", "name", "nodes", "root")

    def __init__(self, name: str, nodes: Mapping[str, PregelNode], declared: Declared) -> None:
        node = nodes[name]
        self.name = name
        self.nodes = nodes
        self.inner: Runnable[Any, Any] = node.bound
        if name == START:
            self.inner = Unchanged()
        elif isinstance(node.bound, RunnableSequence):
            self.inner = Flat(node.bound)
        self.declared = declared
        self.root: Governance | None = None
        self.bounds: dict[str, Bound] = {}

    def code_of(self, name: str) -> Runnable[Any, Any]:
        """The author's code of another node of the same graph."""
        ran: Any = self.nodes[name].node
        return ran.step.inner  # type: ignore[no-any-return]  # each of them is governed

    def bind(self, parent: Call | None) -> Bound | None:
        """What binds this execution, by where it is; None where nothing governs it."""
        if parent is None:
            return None if self.root is None else self._bound(self.name, self.root.in_force.now, None)
        governance, place = self.binding(parent)
        return self._bound(place, governance, parent)

    def binding(self, parent: Call) -> tuple[Governance, str]:
        """Whose contracts bind a nested execution, and the place by which they name it."""
        governance, place = parent.governance.in_force.now, f"{parent.node.place}/{self.name}"
        own = None if self.root is None else governance.counterpart(self.root).in_force.now
        if own is not None and keeps_its_own(own, governance, place):
            return own, self.name
        return governance, place

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
        bound = self.bind(parent)
        if bound is None or config is None:
            return None
        conf, metadata = config[CONF], config["metadata"]
        runtime = conf.get(CONFIG_KEY_RUNTIME)
        way = metadata.get("langgraph_path") or PULLED
        path = f"{self.name}#{own_step(metadata, conf)}"
        pulled = way[0] == PULL
        if not pulled:
            path += branch(way)
        if parent is None:
            session = bound.governance.session(session_of(conf, runtime))
        else:
            session, path = parent.session, prefix(parent, conf) + path
        info = getattr(runtime, "execution_info", None)
        call = NodeCall(
            self.name, path, EXECUTIONS.next(), bound.governance, session, bound.contract, parent,
            config, info.node_attempt if info is not None else 1, given, pulled, bound,
        )  # fmt: skip
        call.input, call.origin = given, self
        guarded = {**config, CONF: guarded_conf(conf, call)}
        if bound.marked:
            guarded["metadata"] = {**metadata, "governance": "unverified"}
        elif bound.holds:
            guarded = silent(guarded)
        return call, guarded  # type: ignore[return-value]  # a TypedDict spread is a dict to mypy


def keeps_its_own(own: Governance, outer: Governance, place: str) -> bool:
    """Whether a graph that was governed by itself stays under its own contracts at a place of another graph.

    Only naming the very place replaces them: a pattern is written for whatever else there is.
    """
    if own.in_force is outer.in_force:
        return outer.contract(place) is None  # a graph that runs itself: one author wrote name and pattern
    return own.enforcing and not (outer.enforcing and place in outer.contracts)
