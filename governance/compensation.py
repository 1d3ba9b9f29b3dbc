"""Takes back what a session did: its finished effects, the last one first, each of them once.

What cannot be taken back is set aside for a person, and the rest goes on being taken back: to stop there
would leave more of it in force, not less. Everything here blocks; it runs off the event loop.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from governance.answers import outcome_for
from governance.boundary import EXECUTIONS
from governance.contracts import SideEffect
from governance.errors import ConfigurationError, LedgerError, UndoHeld
from governance.operators import refuse_inside
from governance.plane.effects import LEASE
from governance.plane.erasure import ERASED
from governance.plane.sagas import Due, State
from governance.plane.undo_list import Listed, undo_list

if TYPE_CHECKING:
    from governance.sidecar import Governance

PATIENCE = 2 * LEASE
"""Seconds to wait for whoever is at work on an effect, or on taking it back; longer than a lease lasts without him."""
POLL = 0.1
SHOWN = 300


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
            _Step(governance, session, due).take_back()
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


class _Step:
    """One effect that is this execution's to take back."""

    def __init__(self, governance: Governance, session: str, due: Due) -> None:
        self.governance, self.session, self.due = governance, session, due
        self.sagas = governance.sagas
        self.args: Any = json.loads(due.args)
        self.outcome = outcome_for(None, due.tool, due.outcome)

    def take_back(self) -> None:
        declared = self.governance.undos.of(self.due.tool)
        if isinstance(declared, str):
            self._park(declared)
        elif self.args is None or (isinstance(self.outcome, str) and self.outcome == ERASED):
            self._park("what it was called with, or what it returned, was erased")
        elif self.due.doubt:
            self._look(declared)
        elif self.due.shared:
            self._park(f"the session {self.due.shared} was answered with its outcome, and stands on it")
        elif self.due.cut:
            self._go_on(declared)
        else:
            self._undo(declared)

    def _look(self, effect: SideEffect) -> None:
        """The effect itself was cut off: find out whether there is anything to take back."""
        if effect.reconcile is None:
            self._park("it began and nobody saw how it ended")
            return
        try:
            outcome = effect.reconcile(self.args)
        except Exception as error:
            self._park(f"it began, nobody saw how it ended, and looking it up failed: {_told(error)}")
            return
        if outcome is None:
            self._undone("it was looked up and had not happened")
        elif self.sagas.happened(self.due, outcome):
            self._row("effect.reconciled")
        else:
            self._fenced()

    def _go_on(self, effect: SideEffect) -> None:
        """Its undo was cut off."""
        if effect.undone is None and not effect.undo_idempotent:
            self._park("its undo began and nobody saw how that ended")
        elif not self._is_undone(effect):
            self._undo(effect)

    def _is_undone(self, effect: SideEffect, before: str = "") -> bool:
        """Look, where the tool can; what is found is settled."""
        if effect.undone is None:
            return False
        try:
            found = effect.undone(self.args, self.outcome)
        except Exception as error:
            self._park(f"{before or 'its undo began, nobody saw how that ended'}, and looking failed: {_told(error)}")
            return True
        if found:
            self._undone("its undo was looked up and had happened")
        return bool(found)

    def _undo(self, effect: SideEffect) -> None:
        if effect.undo is None:
            self._park(f"{self.due.tool} declares no undo")
            return
        self._on_disk()
        if not self.sagas.confirm(self.due):
            self._fenced()
            return
        try:
            _plain(effect.undo, self.args, self.outcome)
        except Exception as error:
            failed = f"its undo failed: {_told(error)}"
            if not self._is_undone(effect, failed):
                self._park(failed)
            return
        self._undone("")

    def _on_disk(self) -> None:
        """The record knows of it before it happens, as of any effect."""
        try:
            self._row("saga.undoing", args=self.args)
            self.governance.ledger.flush()
        except LedgerError:
            self.sagas.release(self.due)
            raise

    def _undone(self, why: str) -> None:
        if self.sagas.undone(self.due, why):
            self._row("saga.undone", **({"reason": why} if why else {}))
        else:
            self._fenced()

    def _park(self, why: str) -> None:
        if self.sagas.park(self.due, why):
            self._row("saga.parked", reason=why)
        else:
            self._fenced()

    def _fenced(self) -> None:
        self._row("saga.fenced", reason="its lease had run out, and somebody else has judged it meanwhile")

    def _row(self, kind: str, **facts: Any) -> None:
        due = self.due
        body = {"tool": due.tool, "effect": due.id, "execution": due.execution, **facts}
        self.governance.ledger.record(self.session, kind, path=due.path, actor=due.tool, body=body)


def _plain(work: Callable[..., Any], *args: Any) -> None:
    """Undo functions are plain ones: what they return must not be work that is still to be done."""
    found = work(*args)
    if inspect.isawaitable(found):
        if inspect.iscoroutine(found):
            found.close()
        raise TypeError("undo must be a plain function, and this one is async, so nothing was done")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:SHOWN]


def _note(governance: Governance, session: str, kind: str, actor: str = "", **facts: Any) -> None:
    governance.ledger.record(session, kind, actor=actor, body=facts)
