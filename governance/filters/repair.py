"""Another attempt at a node: LangGraph's own retry loop makes it, with the reason as feedback."""

from __future__ import annotations

from governance.call import NodeCall
from governance.errors import Revise


def repair(call: NodeCall, reason: str) -> Revise | None:
    """Another attempt with feedback, where one is left and the node has changed nothing outside."""
    if call.attempt >= call.contract.attempts or call.effects_done:
        return None
    call.session.say(call.path, reason)
    call.session.mark_revised(call.path, True)
    return Revise(f"{call.place} should try again: {reason}")
