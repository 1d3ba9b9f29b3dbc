"""Recomputes a ledger from its rows: what was edited, cut, dropped, swapped or put in by somebody else.

Every row is hashed again by the rule of `governance.plane.ledger_rows` and compared with its neighbours,
with the table of heads and with the chain of groups, in one read transaction, so that writers may go on
meanwhile. Rows are streamed: memory grows with the numbers of sessions and groups, not of events.

Whoever may write the ledger, and has its key where it has one, may also compute a whole new chain, or cut
the newest groups. Only what is kept elsewhere finds that: anchors, or the heads that one `verify` returned.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from operator import itemgetter

from governance.plane.anchors import Anchor
from governance.plane.archives import MARK
from governance.plane.ledger_rows import Head, check_key, digest_with, meta_of
from governance.plane.ledger_store import Place, Reader, store_of
from governance.plane.verify_audit import Audit, Problem, Progress, Verification
from governance.plane.verify_chain import check_chain, check_known
from governance.plane.verify_groups import check_groups
from governance.plane.verify_house import check_archive_itself, read_house
from governance.plane.verify_payloads import check_strangers

ROWS = "SELECT session, n, g, ts, kind, path, actor, body, prev, hash FROM events ORDER BY session, n"
ORPHANS = (
    "SELECT session, n, hash, tokens FROM heads h WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.session = h.session)"
)


def verify(
    place: Place,
    *,
    heads: Mapping[str, tuple[int, str]] | None = None,
    anchors: Iterable[Anchor] = (),
    archives: Iterable[Place] = (),
    key: bytes | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check a whole ledger; raises `LedgerError` where it cannot be read as a ledger at all, or needs another key.

    `heads` are (n, hash) by session as they were known earlier, `anchors` ends of the chain of groups: a
    ledger that does not contain them was cut or written anew. `archives` are where archived sessions went.
    `progress` is called with the rows done and the rows expected.
    """
    audit = Audit(dict(heads or {}), list(anchors), progress)
    places = list(archives)
    with store_of(place).reader() as reader:
        _verify(reader, audit, place, key)
        covered = [session for archive in places for session in _check_archive(archive, audit, key)]
    if places:
        for session in sorted(audit.tombs.keys() - set(covered)):
            audit.report(session, 0, "was archived, and is in none of the archives given")
    return audit.result(trusting=not places)


def _verify(reader: Reader, audit: Audit, place: Place, key: bytes | None) -> None:
    for what in reader.damages():
        audit.report("", 0, what)
    meta, digest = reader.meta(), digest_with(key)
    name = store_of(place).name
    check_key(f"the ledger {name}", meta, key)
    if {n: v for n, v in meta.items() if n not in (MARK, "version")} != meta_of(key):
        audit.report("", 0, "what the ledger says about its hashes is not what Sidecar writes")
    mark = meta.get(MARK)
    audit.is_archive = mark is not None
    audit.expected = int(next(reader.rows("SELECT coalesce(sum(n), 0) FROM heads"))[0])
    read_house(reader, audit)
    heads: dict[str, list[Head]] = {}
    for session, *head in reader.rows("SELECT session, n, hash, tokens FROM heads"):
        heads.setdefault(session, []).append(Head(*head))
    for session, rows in itertools.groupby(reader.rows(ROWS), key=itemgetter(0)):
        check_chain(reader, session, rows, heads.get(session, []), audit, digest)
    for session, n, hashed, tokens in reader.rows(ORPHANS):
        if audit.tombs.get(session) == Head(n, hashed, tokens):
            audit.heads[session] = n, hashed
        else:
            audit.report(session, 0, f"the heads say {n} rows, there is none: the session was removed")
    check_strangers(reader, audit.heads, audit.report)
    if mark is None:
        check_groups(reader, audit, digest)
    else:
        check_archive_itself(reader, audit, mark, digest)
    for session, (n, hashed) in audit.known.items():
        check_known(session, n, hashed, audit)


def _check_archive(place: Place, audit: Audit, key: bytes | None) -> list[str]:
    """Rows that went elsewhere: whole in themselves, and what the tombstones of the ledger stand for."""
    inner = Audit({}, [], audit.progress, pruned=audit.pruned, erased=audit.erased)
    with store_of(place).reader() as reader:
        _verify(reader, inner, place, key)
    found, name = inner.result(), store_of(place).name
    for problem in found.problems:
        audit.report(problem.session, problem.n, f"in the archive {name}: {problem.what}")
    audit.events += found.events
    for session, (n, hashed) in found.heads.items():
        tomb = audit.tombs.get(session)
        if tomb is None:
            audit.report(session, 0, f"is in the archive {name}, and the ledger does not say so")
        elif n == tomb.n and hashed != tomb.hash:
            audit.report(session, n, f"ends in the archive {name} with another hash than the ledger says")
    return list(found.heads)


__all__ = ["Problem", "Progress", "Verification", "verify"]
