"""Content of sessions in the control file, let go of: that something was decided or done is still known."""

from __future__ import annotations

from collections.abc import Iterable

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance.plane.control import Control

ERASED = "(erased)"
SETTLED = "('denied','expired','superseded','committed')"


def erase(control: Control, sessions: Iterable[str]) -> int:
    """Erase what was asked, answered and proposed in sessions; returns how many entries lost their content.

    An effect is still found by its place, its business key and the digest of its arguments, so it happens
    no second time; its outcome is then `ERASED`. Questions that wait for a person, and effects that do,
    keep what the person has to see.
    """
    kind, blob = JsonPlusSerializer().dumps_typed(ERASED)
    changed = 0
    control.rows("PRAGMA secure_delete=ON")  # what is deleted is overwritten
    with control.transaction() as db:
        for session in sessions:
            changed += db.execute("DELETE FROM answers WHERE session=?", (session,)).rowcount
            changed += db.execute(
                "UPDATE effects SET args='null', parked_args=NULL, result_type=?, result=? "
                "WHERE session=? AND state IN ('finished','undone') AND parked IS NULL",
                (kind, blob, session),
            ).rowcount
            db.execute("UPDATE sagas SET reason=? WHERE session=? AND state='undone'", (ERASED, session))
            db.execute("UPDATE steps SET why=? WHERE session=? AND state IN ('undone','stands')", (ERASED, session))
            changed += db.execute(
                "UPDATE cards SET what='{}', evidence='null', payload_type=?, payload=?, edited=NULL "
                f"WHERE session=? AND state IN {SETTLED}",
                (kind, blob, session),
            ).rowcount
    control.rows("PRAGMA wal_checkpoint(TRUNCATE)")  # nor does it stay in the log
    return changed
