"""What an undone session did, for people: each effect, what became of it, and what a person found out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance.answers import outcome_for
from governance.errors import ConfigurationError
from governance.operators import refuse_inside
from governance.plane.control import Control
from governance.plane.parked import known_as
from governance.plane.sagas import State, close

Finding = Literal["undone", "stands", "again"]
LISTED = (
    "SELECT s.key, s.session, s.path, s.state, s.why, e.tool, e.business, e.args, e.result_type, e.result "
    "FROM steps AS s JOIN effects AS e ON e.key = s.key AND e.state != 'asked' WHERE {} ORDER BY s.n DESC"
)
SETTLED = {
    # No outcome is known of an effect that was cut off: tried again, it is in doubt as before.
    "again": "state=CASE WHEN result_type IS NULL THEN 'intent' ELSE 'finished' END, lease=0",
    "undone": "state='undone', business=NULL, parked=NULL, lease=0",
}
STEP = {"again": "done", "undone": "undone", "stands": "stands"}


@dataclass(frozen=True, slots=True)
class Listed:
    """One effect of a session that is undone: `outcome` is what its tool returned, None where nobody knows."""

    id: str
    session: str
    tool: str
    path: str
    state: str
    why: str
    args: Any
    outcome: Any
    business: str | None
    key: str


def undo_list(control: Control, session: str) -> list[Listed]:
    """The effects of a session in the order in which they are taken back."""
    return [_listed(row) for row in control.rows(LISTED.format("s.session=?"), (session,))]


def waiting(control: Control) -> list[Listed]:
    """Every effect that could not be taken back and waits for a person."""
    return [_listed(row) for row in control.rows(LISTED.format("s.state='parked'"))]


def find(control: Control, effect: str) -> Listed:
    """The effect that waits under an id, or the beginning of one; raises `ConfigurationError`."""
    found = [one for one in waiting(control) if one.id.startswith(effect)]
    if not effect or len(found) != 1:
        number = "none" if not found else f"{len(found)} of them"
        raise ConfigurationError(
            f"expected one effect with the id {effect!r} that waits to be taken back, found {number}; "
            "see `sidecar saga list`"
        )
    return found[0]


def settle(control: Control, effect: str, finding: Finding, *, reason: str) -> State:
    """Say what became of an effect that could not be taken back; returns how it stands with its session then.

    Code of a node settles nothing: inside a governed call this raises `AuthorityRefused`.
    """
    refuse_inside("settle an undo")
    one = find(control, effect)
    with control.transaction() as db:
        known = "key=? AND state='parked'"
        if not db.execute(f"UPDATE steps SET state=?, why=? WHERE {known}", (STEP[finding], reason, one.key)).rowcount:
            raise ConfigurationError(f"effect {one.id} does not wait any more; see `sidecar saga list`")
        if finding == "stands":
            kind, blob = JsonPlusSerializer().dumps_typed(f"It happened and stands: {reason}")
            db.execute(
                "UPDATE effects SET state='finished', parked=NULL, result_type=coalesce(result_type, ?), "
                "result=CASE WHEN result_type IS NULL THEN ? ELSE result END WHERE key=?",
                (kind, blob, one.key),
            )
        else:
            db.execute(f"UPDATE effects SET {SETTLED[finding]} WHERE key=?", (one.key,))
        return close(db, one.session)[0]


def _listed(row: tuple[Any, ...]) -> Listed:
    key, session, path, state, why, tool, business, args, kind, blob = row
    outcome = None if kind is None else outcome_for(None, tool, JsonPlusSerializer().loads_typed((kind, blob)))
    return Listed(known_as(key, business), session, tool, path, state, why, json.loads(args), outcome, business, key)
