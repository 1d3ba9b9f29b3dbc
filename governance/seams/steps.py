"""Seam 1, where an execution begins: what binds it, where in the session it is, and its guarded config."""

from __future__ import annotations

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
from governance.boundary import EXECUTIONS, current_call, missing_contract
from governance.call import Call, NodeCall
from governance.seams.guard import guarded_conf
from governance.seams.identity import branch, prefix, session_of
from governance.seams.lcel import Flat, Unchanged

if TYPE_CHECKING:
    from governance.sidecar import Governance

PULLED = (PULL,)


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

    def bind(self, parent: Call | None) -> Bound | None:
        """What binds this execution, by where it is; None where nothing governs it."""
        if parent is None:
            return None if self.root is None else self._bound(self.name, self.root, None)
        place = f"{parent.node.place}/{self.name}"
        narrower = self.root is not None and (self.root.enforcing or not parent.governance.enforcing)
        if self.root is not None and narrower and parent.governance.contract(place) is None:
            return self._bound(self.name, self.root, parent)  # a governed graph brings its own
        return self._bound(place, parent.governance, parent)

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
        path = f"{self.name}#{metadata.get('langgraph_step', 0)}"
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
        return call, guarded  # type: ignore[return-value]  # a TypedDict spread is a dict to mypy
