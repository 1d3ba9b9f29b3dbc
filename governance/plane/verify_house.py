"""What operators put on record about rows and payloads that are elsewhere, or nowhere any more."""

from __future__ import annotations

import orjson

from governance.plane.archives import contents_of
from governance.plane.ledger_rows import OPERATOR, SYSTEM, Digest, Head
from governance.plane.ledger_store import Reader
from governance.plane.tombstones import read_shares, tombstone_digest
from governance.plane.verify_audit import Audit
from governance.plane.verify_groups import ONE

ARCHIVED = "SELECT session, n, hash, tokens, shares FROM archived ORDER BY session, n"
KEPT_HOUSE = "SELECT n, kind, body FROM events WHERE session=? ORDER BY n"


def read_house(reader: Reader, audit: Audit) -> None:
    """What operators put on record about rows and payloads that are no longer here."""
    told: dict[tuple[str, int], str] = {}
    for _, kind, body in reader.rows(KEPT_HOUSE, OPERATOR):
        if kind not in ("ledger.archived", "ledger.pruned"):
            continue
        try:
            facts = orjson.loads(body)
            if kind == "ledger.pruned":
                audit.pruned = max(audit.pruned, int(facts["before"]))
            else:
                told[str(facts["session"]), int(facts["n"])] = str(facts["digest"])
                audit.files[str(facts["file"])] = None
        except (ValueError, KeyError, TypeError):
            continue  # an edited row; its hash says so

    for session, n, hashed, tokens, shares in reader.rows(ARCHIVED):
        if told.pop((session, n), None) != tombstone_digest(session, n, hashed, tokens, shares):
            audit.report(session, 0, f"rows up to {n} are said to be archived, and nobody has put that on record")
        audit.tombs[session] = Head(n, hashed, tokens)
        for g, events, total in read_shares(shares):
            audit.shares[g] = audit.shares.get(g, 0) + events * ONE + total
    for session, n in told:
        audit.report(session, 0, f"was archived up to row {n}, and what stands for these rows is gone")


def check_archive_itself(reader: Reader, audit: Audit, mark: str, digest: Digest) -> None:
    """Whether what calls itself an archive was made by archiving, as far as it can tell by itself."""
    if audit.anchors:
        audit.report("", 0, "an archive has no anchors of its own; give them to the check of its ledger")
    if next(reader.rows("SELECT 1 FROM groups LIMIT 1"), None):
        audit.report("", 0, "it says that it is an archive, and has groups, as only a ledger has")
    for session in (OPERATOR, SYSTEM):
        if session in audit.heads:
            audit.report(session, 0, "is never archived: this was a ledger, and somebody made it say otherwise")
    stated = contents_of(mark)
    if stated is None or stated.sealed(digest) != mark:
        audit.report("", 0, "it says that it is an archive, and no archiving has sealed that")
    elif stated != audit.contents:
        found, wanted = audit.contents.sessions, stated.sessions
        what = f"{wanted} sessions, {found} are there" if found != wanted else "other rows than are there"
        audit.report("", 0, f"the archive was sealed with {what}")
