"""Takes back what a session did: its finished effects, the last one first, each of them once.

What cannot be taken back is set aside for a person, and the rest goes on being taken back: to stop there
would leave more of it in force, not less. Everything here blocks; it runs off the event loop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from governance.boundary import EXECUTIONS
from governance.errors import ConfigurationError, UndoHeld
from governance.operators import refuse_inside
from governance.plane.effects import LEASE
from governance.plane.sagas import State
from governance.plane.undo_list import Listed, undo_list
from governance.undo_step import UndoStep

if TYPE_CHECKING:
    from governance.sidecar import Governance

PATIENCE = 2 * LEASE
"""Seconds to wait for whoever is at work on an effect, or on taking it back; longer than a lease lasts without him."""
POLL = 0.1


@dataclass(frozen=True, slots=True)
class Compensated:
    """How it stands with a session that was undone."""

    session: str
    state: State
    steps: tuple[Listed, ...]

    @property
    def undone(self) -> tuple[str, ...]:
        """The tools whose effects are not in force any more."""
        return tuple(one.tool for one in self.steps if one.state == "undone")

    @property
    def parked(self) -> tuple[Listed, ...]:
        """What waits for a person."""
        return tuple(one for one in self.steps if one.state == "parked")

    def __str__(self) -> str:
        waits = f"; for a person: {len(self.parked)} (`sidecar saga show {self.session}`)" if self.parked else ""
        return f"session {self.session}: {len(self.undone)} of {len(self.steps)} effects undone{waits}"


def compensate(graph: Any, session: str, *, reason: str, by: str = "local") -> Compensated:
    """Undo a session of a governed graph, or go on with that where it was cut off (blocking).

    For a session that failed, was killed, or is given up; from now on it does nothing more. Raises
    `UndoHeld` where a stop, or somebody at work on it, is in the way: call it again later. Code of a node
    undoes nothing: inside a governed call this raises `AuthorityRefused`.
    """
    from governance.seams import governance_of

    refuse_inside("undo a session")
    governance = governance_of(graph)
    if governance is None or not governance.enforcing or governance.policy.saga is None:
        raise ConfigurationError(
            "expected a graph that is governed with contracts and a policy with a table [saga]: of no other it is "
            "known what its sessions did; add the table to the policy that govern() is given"
        )
    sagas = governance.sagas
    others = [name for name in sagas.graphs(session) if name != governance.graph]
    if others:
        raise ConfigurationError(
            f"session {session!r} ran in the graph {others[0]!r}, not in {governance.graph!r}; give that one"
        )
    if sagas.of(session) is None and not begin(governance, session, "asked", reason, by):
        raise ConfigurationError(f"session {session!r} has nothing to undo: it did nothing, or came to its end")
    return undo(governance, session)


def begin(governance: Governance, session: str, cause: str, reason: str, by: str) -> bool:
    """Decide that a session is taken back; False where it did nothing, so that it may just be run on."""
    count = governance.sagas.count(session)
    if count == 0:
        return False
    # On record first: nothing must be undone on nobody's word.
    _note(governance, session, "saga.began", by, cause=cause, reason=reason, effects=count)
    governance.ledger.flush()
    return governance.sagas.begin(session, governance.graph, cause, reason, by)


def undo(governance: Governance, session: str) -> Compensated:
    """Go through what a session did, from the newest to the oldest."""
    sagas, execution, patience = governance.sagas, EXECUTIONS.next(), time.monotonic() + PATIENCE
    while (tool := sagas.tool_due(session)) is not None:
        _check_stops(governance, session, tool)
        try:
            due = sagas.claim(session, execution)
        except UndoHeld:
            if time.monotonic() >= patience:
                raise
            time.sleep(POLL)
            continue
        if due is None:
            break
        try:
            UndoStep(governance, session, due).take_back()
        finally:
            sagas.let_go(due)
        patience = time.monotonic() + PATIENCE
    state, now = sagas.close(session)
    found = Compensated(session, state, tuple(undo_list(governance.control, session)))
    if now:
        _note(governance, session, "saga.ended", state=state, undone=len(found.undone), parked=len(found.parked))
    return found


def _check_stops(governance: Governance, session: str, tool: str) -> None:
    """A stop of everything, or of the tool, holds an undo back too; one of the session is what may have begun it."""
    control = governance.control
    if not control.is_fresh():
        control.refresh()
    order = control.stops.get(("all", "*")) or control.stops.get(("tool", tool))
    if order is not None:
        why = f"stopped by {order.by}: {order.reason} (`sidecar resume {order.scope} {order.name}` lifts it)"
        _note(governance, session, "saga.held", tool, tool=tool, reason=why)
        raise UndoHeld(f"{tool} is not taken back: {why}; then `sidecar saga resume`", tool=tool, session=session)


def _note(governance: Governance, session: str, kind: str, actor: str = "", **facts: Any) -> None:
    governance.ledger.record(session, kind, actor=actor, body=facts)
