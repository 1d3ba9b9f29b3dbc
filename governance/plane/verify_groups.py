"""The chain over all groups: what a session's own chain cannot show, since it may be gone with it."""

from __future__ import annotations

from governance.plane.anchors import Anchor
from governance.plane.ledger_rows import BEFORE_GROUPS, MODULUS, Digest, group_hash
from governance.plane.ledger_store import Reader
from governance.plane.verify_audit import Audit

ONE = 1 << 320
"""One row, in a number that holds the sum of hashes below and counts the rows above."""
GROUPS = "SELECT g, ts, events, sum, prev, hash FROM groups ORDER BY g"


def check_groups(reader: Reader, audit: Audit, digest: Digest) -> None:
    """Each group against its rows, the group before it, and the anchors that were kept outside."""
    anchors: dict[int, list[str]] = {}
    for anchor in audit.anchors:
        anchors.setdefault(anchor.g, []).append(anchor.hash)
    number, last = None, ""
    for g, ts, events, total, prev, hashed in reader.rows(GROUPS):
        if g != (number + 1 if number is not None else min(g, 1)) or g < BEFORE_GROUPS:
            audit.report("", 0, f"group {g} stands after group {number or 0}: groups are missing")
        if prev != last:
            audit.report("", 0, f"group {g} does not follow the group before it: another chain goes on here")
        if group_hash(prev, g, ts, events, total, digest) != hashed:
            audit.report("", 0, f"group {g} was changed after it was written: its hash does not fit its content")
        _check_rows(g, events, total, audit)
        for known in anchors.pop(g, ()):
            if known != hashed:
                audit.report(
                    "", 0, f"group {g} has hash {hashed[:12]}, anchored as {known[:12]}: the ledger was rewritten"
                )
        number, last = g, hashed
        audit.anchor = Anchor(g, hashed, ts)
    for g in sorted(audit.shares):
        audit.report("", 0, f"there are rows of a group {g} that was never committed")
    for g in sorted(anchors):
        audit.report("", 0, f"the ledger ends at group {number or 0}, anchored up to group {g}: its tail was cut")


def _check_rows(g: int, events: int, total: str, audit: Audit) -> None:
    share = audit.shares.pop(g, 0)
    there = share // ONE
    if there != events:
        what = f"{events - there} of them are gone" if there < events else f"there are {there}: rows were put in"
        audit.report("", 0, f"group {g} was committed with {events} rows, {what}")
    elif f"{share % ONE % MODULUS:064x}" != total:
        audit.report("", 0, f"group {g} does not add up to what was committed: rows were exchanged")
