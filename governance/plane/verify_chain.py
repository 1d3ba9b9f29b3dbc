"""The chain of one session: its rows against themselves, against each other, and against its head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from governance.plane.archives import Part
from governance.plane.ledger_rows import NO_HEAD, Digest, Head, event_hash
from governance.plane.ledger_store import Reader
from governance.plane.spending import spent
from governance.plane.verify_audit import Audit
from governance.plane.verify_groups import ONE
from governance.plane.verify_payloads import References, check_payloads


def check_chain(
    reader: Reader,
    session: str,
    rows: Iterable[tuple[Any, ...]],
    heads: list[Head],
    audit: Audit,
    digest: Digest,
) -> None:
    """One session, its rows in their order."""
    number, last, tokens = audit.tombs.get(session, NO_HEAD)
    sound, shares, named, begun = True, audit.shares, References(audit.pruned), (1, "")
    known = audit.known.get(session)
    for _, n, g, ts, kind, path, actor, body, prev, hashed in rows:
        audit.count()
        if audit.is_archive and not last:
            begun = n, prev
            number, last = n - 1, prev  # the rows before it are in an older archive
        if n != number + 1:
            audit.report(session, n, _gap(number, n))
        elif prev != last:
            audit.report(session, n, "does not follow the row before it: another chain goes on here")
        try:
            shares[g] = shares.get(g, 0) + ONE + int(hashed, 16)
            right = event_hash(prev, session, n, g, ts, kind, path, actor, body, digest) == hashed
        except (TypeError, ValueError):
            right = False
        if not right:
            audit.report(session, n, "was changed after it was written: its hash does not fit its content")
            sound = False
        else:
            if '"tokens":' in body:
                tokens += spent(orjson.loads(body))
            if '"sha256":' in body or kind == "ledger.erased":
                named.see(n, ts, kind, body)
        if known is not None and n == known[0]:
            del audit.known[session]
            if hashed != known[1]:
                audit.report(session, n, f"has hash {hashed[:12]}, known as {known[1][:12]}: the chain was rewritten")
        number, last = n, hashed
    audit.heads[session] = (number, last)
    _check_head(session, heads, Head(number, last, tokens), audit, sound=sound and begun[0] == 1)
    if named.erased:
        audit.erased.add(session)
    if sound:
        if audit.is_archive and session in audit.erased:
            named.needed.clear()
        check_payloads(reader, session, named, audit.report)
    if audit.is_archive and isinstance(begun[0], int):
        part = Part(session, *begun, number, last)
        audit.contents = audit.contents.having(part, digest, instead=None)


def _gap(number: Any, n: Any) -> str:
    if isinstance(n, int) and n == number + 2:
        return f"row {number + 1} is missing before it"
    if isinstance(n, int) and n > number:
        return f"rows {number + 1} to {n - 1} are missing before it"
    return f"stands after row {number}: a second chain"


def _check_head(session: str, found: list[Head], wanted: Head, audit: Audit, *, sound: bool) -> None:
    if len(found) != 1:
        audit.report(session, 0, "has rows but no head" if not found else f"has {len(found)} heads")
        return
    for name, stated, should in zip(Head._fields, found[0], wanted, strict=True):
        if stated != should and (sound or name != "tokens"):
            audit.report(session, 0, f"the head says {name} {stated!r:.20}, the rows say {should!r:.20}")


def check_known(session: str, n: int, hashed: str, audit: Audit) -> None:
    end, tomb = audit.heads.get(session), audit.tombs.get(session)
    if tomb is not None and n <= tomb.n:
        if n == tomb.n and hashed != tomb.hash:
            audit.report(session, n, f"has hash {tomb.hash[:12]}, known as {hashed[:12]}: the chain was rewritten")
    elif end is None:
        audit.report(session, 0, f"was known with {n} rows and is gone")
    else:
        audit.report(session, 0, f"ends at row {end[0]}, known up to row {n} ({hashed[:12]}): its tail was cut")
