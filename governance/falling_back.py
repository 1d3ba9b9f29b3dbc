"""Who pays for a fallback, and what of it goes on record; the same for a node, a model and a tool."""

from __future__ import annotations

from governance.call import Call, NodeCall
from governance.errors import GovernanceError, Unavailable
from governance.plane.dependencies import Dependency
from governance.reruns import failure_of


def behind(call: NodeCall, error: BaseException) -> Dependency:
    """The dependency that a node failed by, as far as its error tells; else the node's own code."""
    directory, failure = call.governance.directory, failure_of(error)
    if failure is not None:
        return failure.dependency
    named = directory.known(str(error.facts.get("dependency"))) if isinstance(error, Unavailable) else None
    return named or directory.of_node(call)


def because(error: BaseException) -> str:
    """Why there is a fallback: governance's own words, but of another error only its class."""
    return error.reason if isinstance(error, GovernanceError) else type(error).__name__


def note_used(call: Call, source: str, to: str, reason: str) -> None:
    _note(call, "fallback.used", {"from": source, "to": to, "reason": reason})


def note_refused(call: Call, source: str, to: str, reason: str) -> None:
    _note(call, "fallback.refused", {"from": source, "to": to, "reason": reason})


def _note(call: Call, kind: str, body: dict[str, str]) -> None:
    call.governance.ledger.record(
        call.session.id, kind, path=call.path, actor=call.name, body={**body, "execution": call.execution}
    )
