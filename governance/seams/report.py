"""What is governed, and what LangGraph knows about a running call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_RUNTIME,
)

from governance.call import NodeCall
from governance.covered import Coverage, Covered

if TYPE_CHECKING:
    pass
from governance.seams.graphs import governance_of, places, step_of


def coverage(graph: Any) -> Coverage:
    """What governs each node of a graph, as far as it can be known before it runs."""
    governance = governance_of(graph)
    nodes, unknown = [], []
    for place, (_, node) in places(graph, "", set()):
        step = step_of(node)
        contract = governance.contract(place) if governance else None
        state: str = "ungoverned" if step is None or governance is None else governance.mode
        if contract is not None and not contract.enforced:
            state = "observed"
        waived = tuple(sorted(contract.waives)) if contract else ()
        reason = (contract.observed or "") if contract else ""
        nodes.append(Covered(place, "node step" if step else "none", state, waived, reason))
        if not node.subgraphs:
            unknown.append(f"{place}: graphs its code builds or finds by itself are governed when they start")
    seams = {
        "node step": "every node listed here",
        "tasks": "every @task a governed node schedules",
        "sends": "every write and route, after LangGraph normalised it",
        "models and tools": "every call from a governed node, also from threads it starts",
        "doors": f"update_state, Command input, rewinds: {governance.doors if governance else 'open'}",
        "raw connections": "sockets and processes of a node's own Python code",
    }
    return Coverage(governance.mode if governance else "ungoverned", tuple(nodes), seams, tuple(unknown))


def resume_answer(call: NodeCall, card: str) -> Any:
    """What a resume brought for this card, or None."""
    outermost = call
    while outermost.parent is not None:  # a node could slip answers into what it hands down
        outermost = outermost.parent.node
    answers = outermost.config.get(CONF, {}).get(CONFIG_KEY_RESUME_MAP)
    return answers.get(card) if isinstance(answers, Mapping) else None


def server_user(call: NodeCall) -> str | None:
    """The user a LangGraph server has authenticated for this run."""
    info = getattr(call.config.get(CONF, {}).get(CONFIG_KEY_RUNTIME), "server_info", None)
    identity = getattr(getattr(info, "user", None), "identity", None)
    return str(identity) if identity else None
