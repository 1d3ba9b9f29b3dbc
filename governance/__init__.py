"""Sidecar: a governed boundary around every node of any LangGraph graph."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from governance.call import Call, Filter, Flow, Hold, ModelCall, NodeCall, Proceed, Run, Sleep, ToolCall
    from governance.compensation import Compensated, compensate
    from governance.constraints import at_least, at_most, from_state, matches, one_of
    from governance.context.settings import Context
    from governance.contracts import Approval, Contract, SideEffect, Tool, declares
    from governance.effect_block import effect
    from governance.errors import GovernanceError, Refusal
    from governance.fallbacks import Cached, Plain
    from governance.gates import Gate, Verdict
    from governance.isolation import NodeFailure, isolated
    from governance.operators import operator
    from governance.plane.approvals import Card, Principal
    from governance.policy import Policy, load_policy
    from governance.sidecar import Sidecar, coverage, govern

# Loaded when asked for: the pytest plugin lives in this package and must not cost every test run a second.
_HOMES = {
    "governance.call": (
        "Call",
        "Filter",
        "Flow",
        "Hold",
        "ModelCall",
        "NodeCall",
        "Proceed",
        "Run",
        "Sleep",
        "ToolCall",
    ),
    "governance.compensation": ("Compensated", "compensate"),
    "governance.constraints": ("at_least", "at_most", "from_state", "matches", "one_of"),
    "governance.contracts": ("Approval", "Contract", "SideEffect", "Tool", "declares"),
    "governance.context.settings": ("Context",),
    "governance.effect_block": ("effect",),
    "governance.errors": ("GovernanceError", "Refusal"),
    "governance.gates": ("Gate", "Verdict"),
    "governance.fallbacks": ("Cached", "Plain"),
    "governance.isolation": ("NodeFailure", "isolated"),
    "governance.operators": ("operator",),
    "governance.plane.approvals": ("Card", "Principal"),
    "governance.policy": ("Policy", "load_policy"),
    "governance.sidecar": ("Sidecar", "coverage", "govern"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        if not (error.name or "").startswith(("langgraph", "langchain")):
            raise
        from governance.errors import UnsupportedVersion

        raise UnsupportedVersion(f"{error}; Sidecar knows langgraph>=1.2.22,<1.3: install one of these") from error


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'governance' has no attribute {name!r}")
    value = getattr(_imported(_HOME_OF[name]), name)
    globals()[name] = value
    return value


__all__ = [
    "Approval",
    "Cached",
    "Call",
    "Card",
    "Compensated",
    "Context",
    "Contract",
    "Filter",
    "Flow",
    "Gate",
    "GovernanceError",
    "Hold",
    "ModelCall",
    "NodeCall",
    "NodeFailure",
    "Plain",
    "Policy",
    "Principal",
    "Proceed",
    "Refusal",
    "Run",
    "SideEffect",
    "Sidecar",
    "Sleep",
    "Tool",
    "ToolCall",
    "Verdict",
    "at_least",
    "at_most",
    "compensate",
    "coverage",
    "declares",
    "effect",
    "from_state",
    "govern",
    "isolated",
    "load_policy",
    "matches",
    "one_of",
    "operator",
]
