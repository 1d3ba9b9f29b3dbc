"""Which effects belong to a saga: those of an outermost run whose policy has one."""

from __future__ import annotations

from governance.call import ToolCall
from governance.plane.requests import outermost
from governance.plane.steps import Step


def step_of(call: ToolCall) -> Step | None:
    """What a saga has to know of an effect; None where nothing is ever undone.

    What a graph inside does on a control file of its own cannot be undone from here.
    """
    root = outermost(call).governance
    if root.policy.saga is None or root.control is not call.governance.control:
        return None
    effect = call.governance.effect(call)
    if effect is not None:
        root.undos.saw(call.name, effect)
    return Step(root.graph, call.path)
