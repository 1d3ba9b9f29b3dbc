"""Runs the contract's gates over an update before any node can read it."""

from __future__ import annotations

from typing import Any

from governance.call import Flow, NodeCall, Proceed
from governance.errors import Escalate, GateRefused, Refusal, Revise
from governance.gates import Gate, Verdict


class Gates:
    """Passes, asks LangGraph to run the node again with the reason, asks a person, or refuses."""

    def __call__(self, call: NodeCall) -> Flow:
        update = yield Proceed(call)
        for gate in call.contract.gates:
            verdict = judge(gate, call, update)
            record(call, gate, verdict)
            if verdict.outcome != "pass":
                raise consequence(call, verdict, update)
        return update


def judge(gate: Gate, call: NodeCall, update: Any) -> Verdict:
    """A gate that fails to judge has not passed the update."""
    try:
        return gate(call, update)
    except Exception as error:
        return Verdict.halt(f"the gate itself failed: {type(error).__name__}: {error}")


def consequence(call: NodeCall, verdict: Verdict, update: Any) -> Exception:
    if verdict.outcome == "escalate":
        return Escalate(verdict.reason, update=update, evidence=verdict.evidence)
    if verdict.outcome == "revise":
        return repair(call, verdict.reason) or GateRefused(
            f"{call.place} was refused after {call.attempt} of {call.contract.attempts} attempts: {verdict.reason}",
            evidence=verdict.evidence,
        )
    return GateRefused(f"{call.place} was refused: {verdict.reason}", evidence=verdict.evidence)


def repair(call: NodeCall, reason: str) -> Revise | None:
    """Another attempt with feedback, where one is left and the node has changed nothing outside."""
    if call.attempt >= call.contract.attempts or call.effects_done:
        return None
    call.session.feedback[call.path] = reason
    return Revise(f"{call.place} should try again: {reason}")


def record(call: NodeCall, gate: Gate, verdict: Verdict) -> None:
    if verdict.outcome == "pass" and verdict.evidence is None:
        return  # the node's own row says that it ended; silence means passed
    call.governance.ledger.record(
        call.session.id,
        f"gate.{verdict.outcome}",
        path=call.path,
        actor=getattr(gate, "__qualname__", type(gate).__name__),
        body={"reason": verdict.reason, "evidence": verdict.evidence, "execution": call.execution},
    )


__all__ = ["Gates", "Refusal", "repair"]
