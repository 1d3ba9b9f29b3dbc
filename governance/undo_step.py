"""Takes one effect back, or finds out that there is nothing to take back, or hands it to a person: never a guess."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from governance.answers import outcome_for
from governance.contracts import SideEffect
from governance.errors import LedgerError
from governance.plane.erasure import ERASED
from governance.plane.sagas import Due

if TYPE_CHECKING:
    from governance.sidecar import Governance

SHOWN = 300


class UndoStep:
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
