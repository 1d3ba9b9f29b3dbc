"""A copy of a compiled graph under another Governance; the graph itself is left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.pregel import Pregel

from governance.seams.graphs import attach

if TYPE_CHECKING:
    from governance.sidecar import Governance


def twin(graph: Pregel[Any, Any, Any, Any], governance: Governance, **changes: Any) -> Any:
    """The same nodes, without waits between attempts: a replay repeats what came of them, not how long it took."""
    nodes = {name: node.copy({"retry_policy": _at_once(node.retry_policy)}) for name, node in graph.nodes.items()}
    copied = graph.copy({"nodes": nodes, "retry_policy": _at_once(graph.retry_policy), **changes})
    attach(copied, governance)
    return copied


def _at_once(policies: Any) -> Any:
    return policies and tuple(one._replace(initial_interval=0.0, jitter=False) for one in policies)
