"""What a circuit is, and how it changes: values and plain functions, the same in memory and in the control file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

from governance.policy_failures import BreakerPolicy

State = Literal["closed", "open", "half-open"]
OVERDUE = 10
"""A probe that has not come back after so many times the open interval counts as failed."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A state with its reason; `turn` tells one state from the next of the same name."""

    state: State
    reason: str
    since: float
    until: float = 0.0
    """When an open one is tried again; when a half-open one gives its probes up."""
    out: int = 0
    good: int = 0
    """Probes of a half-open one that are under way, and those that succeeded."""
    turn: str = ""


def turned(state: State, reason: str, policy: BreakerPolicy, now: float) -> Circuit:
    """Another state from now on."""
    lasts = {"closed": 0.0, "open": policy.open, "half-open": OVERDUE * policy.open}[state]
    return Circuit(state, reason, now, now + lasts, turn=os.urandom(8).hex())


def due(circuit: Circuit, policy: BreakerPolicy, now: float) -> bool:
    """Whether asking for leave can change anything: else it is refused, and nobody has to be asked."""
    if now >= circuit.until:
        return True
    return circuit.state == "half-open" and circuit.out + circuit.good < policy.probes


def tried(circuit: Circuit, policy: BreakerPolicy, now: float) -> tuple[bool, Circuit]:
    """Whether one more call has leave, and what the circuit is then."""
    if circuit.state == "closed":
        return True, circuit
    if circuit.state == "open" and now >= circuit.until:
        circuit = turned("half-open", f"{policy.open:g} s are over", policy, now)
    elif circuit.state == "half-open" and now >= circuit.until:
        return False, turned("open", "a probe did not come back", policy, now)
    if circuit.state == "half-open" and circuit.out + circuit.good < policy.probes:
        return True, replace(circuit, out=circuit.out + 1)
    return False, circuit


def probed(
    circuit: Circuit, policy: BreakerPolicy, now: float, failed: bool | None, slow: bool, why: str
) -> Circuit:  # fmt: skip
    """What a half-open one is after a probe; one that says nothing of the dependency leaves its leave to another."""
    if failed is None:
        return replace(circuit, out=circuit.out - 1)
    if failed or slow:
        return turned("open", f"a probe failed ({why})" if failed else "a probe was slow", policy, now)
    good = circuit.good + 1
    if good >= policy.probes:
        return turned("closed", f"{good} of {good} probes succeeded", policy, now)
    return replace(circuit, out=circuit.out - 1, good=good)
