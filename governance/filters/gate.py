"""Runs the contract's gates over an update before any node can read it."""

from __future__ import annotations

from types import GeneratorType
from typing import Any

from governance.call import After, Flow, NodeCall, Proceed
from governance.errors import GateRefused
from governance.filters.approval import decided, escalated, standing
from governance.filters.repair import repair
from governance.gates import PASSED, Gate, Verdict


def gates(call: NodeCall) -> Flow | After:
    """Passes an update, asks LangGraph to run the node again with the reason, asks a person, or refuses.

    An update that a person was asked about is not made anew: what was shown is what is committed.
    """
    if call.governance.control.has_cards(call.session.id):
        return _after_a_question(call)
    return _judged


def _after_a_question(call: NodeCall) -> Flow:
    card = yield from standing(call)
    if card is not None:
        return (yield from decided(call, card))
    update = yield Proceed(call)
    judged = _judged(call, update)
    return (yield from judged) if isinstance(judged, GeneratorType) else judged


def _judged(call: NodeCall, update: Any) -> Any:
    """The update, or the flow that asks a person about it."""
    contract = call.contract
    for gate in contract.gates:
        verdict = judge(gate, call, update)
        if verdict is PASSED:
            continue
        record(call, gate, verdict)
        if verdict.outcome == "escalate":
            return escalated(call, update, verdict.reason, verdict.evidence)
        if verdict.outcome != "pass":
            raise consequence(call, verdict)
    if contract.approval is not None:
        return escalated(call, update, contract.approval.reason, None)
    return update


def judge(gate: Gate, call: NodeCall, update: Any) -> Verdict:
    """A gate that fails to judge has not passed the update."""
    try:
        return gate(call, update)
    except Exception as error:
        return Verdict.halt(f"the gate itself failed: {type(error).__name__}: {error}")


def consequence(call: NodeCall, verdict: Verdict) -> Exception:
    if verdict.outcome == "revise":
        return repair(call, verdict.reason) or GateRefused(
            f"{call.place} was refused after {call.attempt} of {call.contract.attempts} attempts: {verdict.reason}",
            evidence=verdict.evidence,
        )
    return GateRefused(f"{call.place} was refused: {verdict.reason}", evidence=verdict.evidence)


def record(call: NodeCall, gate: Gate, verdict: Verdict) -> None:
    call.governance.ledger.record(
        call.session.id,
        f"gate.{verdict.outcome}",
        path=call.path,
        actor=getattr(gate, "__qualname__", type(gate).__name__),
        body={"reason": verdict.reason, "evidence": verdict.evidence, "execution": call.execution},
    )
