"""What sagas do at both ends of an outermost run: refuse one that was undone, and undo one that fails.

Everything here blocks; the seam calls it off the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langgraph.types import Command

from governance import compensation
from governance.errors import GovernanceError
from governance.plane.steps import undone
from governance.runs import End
from governance.saga_causes import cause_of

if TYPE_CHECKING:
    from governance.sidecar import Governance


@dataclass(slots=True)
class Ending:
    """How an outermost run ends, as far as the seam has seen it; one that came to no step has no session."""

    session: str | None = field(default=None)
    end: End | None = field(default=None)


def before(governance: Governance, session: str, given: Any, *, named: bool) -> None:
    """Finish what was cut off; a session that was undone begins anew with an input, and goes on with nothing else.

    `named` says that the run names a checkpoint: what that stands on may be undone.
    """
    saga = governance.sagas.of(session)
    if saga is None:
        return
    state = compensation.undo(governance, session).state if saga.state == "undoing" else saga.state
    if state != "undone" or given is None or isinstance(given, Command) or named:
        raise undone(session, state)
    governance.sagas.forget(session)


def after(governance: Governance, ending: Ending, error: Exception | None) -> None:
    """Undo what the session did where the policy wants that for this error; what was done then stands in its notes.

    Raises `SessionUndone` where a run comes to its end that somebody has given up meanwhile.
    """
    session, rules = ending.session, governance.policy.saga
    if session is None or rules is None:
        return
    if error is None:
        if ending.end == "done" and not governance.sagas.commit(session):
            raise undone(session, "undoing")
        return
    cause = cause_of(error)
    if cause is None or cause not in rules.on:
        return
    try:
        reason = f"{type(error).__name__}: {error}"
        if compensation.begin(governance, session, cause, reason, "policy"):
            error.add_note(f"Sidecar undid what it had done: {compensation.undo(governance, session)}")
    except GovernanceError as trouble:
        error.add_note(f"Sidecar could not undo {session} to its end: {trouble.reason}; see `sidecar saga list`")
