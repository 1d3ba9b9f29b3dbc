"""What is governed, and what LangGraph knows about a running call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph._internal._constants import CONF, CONFIG_KEY_RESUME_MAP, CONFIG_KEY_RUNTIME

from governance.call import NodeCall
from governance.covered import Coverage, Covered
from governance.seams.graphs import governance_of, places, step_of


def coverage(graph: Any) -> Coverage:
    """What governs each node of a graph, as far as it can be known before it runs."""
    governance = governance_of(graph)
    nodes, unknown = [], []
    for place, (_, node, binding, known_as) in places(graph, governance):
        step = step_of(node)
        contract = binding.contract(known_as) if binding else None
        state: str = "ungoverned" if step is None or binding is None else binding.mode
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
    answers = _given_from_outside(call).get(CONFIG_KEY_RESUME_MAP)
    return answers.get(card) if isinstance(answers, Mapping) else None


def server_user(call: NodeCall) -> str | None:
    """The user a LangGraph server has authenticated for this run."""
    info = getattr(_given_from_outside(call).get(CONFIG_KEY_RUNTIME), "server_info", None)
    identity = getattr(getattr(info, "user", None), "identity", None)
    return str(identity) if identity else None


def _given_from_outside(call: NodeCall) -> Mapping[str, Any]:
    """The outermost node's configuration: into what a node hands down it could slip answers, and users."""
    while call.parent is not None:
        call = call.parent.node
    found: Mapping[str, Any] = call.config.get(CONF, {})
    return found
