"""Recomputes a ledger from its rows: what was edited, cut, dropped, swapped or put in by somebody else.

Every row is hashed again by the rule of `governance.plane.ledger_rows` and compared with its neighbours,
with the table of heads and with the chain of groups, in one read transaction, so that writers may go on
meanwhile. Rows are streamed: memory grows with the numbers of sessions and groups, not of events.

Whoever may write the ledger, and has its key where it has one, may also compute a whole new chain, or cut
the newest groups. Only what is kept elsewhere finds that: anchors, or the heads that one `verify` returned.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import orjson

from governance.plane.anchors import Anchor
from governance.plane.ledger_rows import NO_HEAD, OPERATOR, Digest, Head, check_key, digest_with, event_hash, meta_of
from governance.plane.ledger_store import Place, Reader, store_of
from governance.plane.spending import spent
from governance.plane.verify_groups import ONE, check_groups
from governance.plane.verify_payloads import References, check_payloads, check_strangers

ROWS = "SELECT session, n, g, ts, kind, path, actor, body, prev, hash FROM events ORDER BY session, n"
ORPHANS = "SELECT session, n, hash, tokens FROM heads h WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.session = h.session)"  # fmt: skip  # noqa: E501
ARCHIVED = "SELECT session, n, hash, tokens, shares FROM archived ORDER BY session, n"
KEPT_HOUSE = "SELECT n, kind, body FROM events WHERE session=? ORDER BY n"
PROBLEMS_KEPT = 1000
STRIDE = 4096
"""Rows between two calls of `progress`."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written; `n` is 0 where it concerns a whole session or ledger."""

    session: str
    n: int
    what: str

    def __str__(self) -> str:
        place = f"{self.session}:{self.n}" if self.n else self.session
        return f"{place}: {self.what}" if place else self.what


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found; `heads` and `anchor` are worth keeping outside for the next time."""

    ok: bool
    events: int
    sessions: int
    problems: tuple[Problem, ...]
    heads: Mapping[str, tuple[int, str]]
    anchor: Anchor | None = None
    archived: tuple[str, ...] = ()
    """Sessions whose older rows are in an archive; whole only together with it."""
    is_archive: bool = False
    """Whether this is such an archive: it has chains of sessions, and none over all of them."""


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
    return audit.result()


@dataclass(slots=True)
class Audit:
    """What has been seen so far."""

    known: dict[str, tuple[int, str]]
    anchors: list[Anchor]
    progress: Progress | None
    expected: int = 0
    events: int = 0
    found: int = 0
    problems: list[Problem] = field(default_factory=list)
    heads: dict[str, tuple[int, str]] = field(default_factory=dict)
    shares: dict[int, int] = field(default_factory=dict)
    """By group: the hashes of its rows added up, and above them how many there are."""
    tombs: dict[str, Head] = field(default_factory=dict)
    pruned: int = 0
    """Payloads of rows older than this may be missing."""
    erased: set[str] = field(default_factory=set)
    """Sessions whose payloads were erased."""
    is_archive: bool = False
    anchor: Anchor | None = None

    def report(self, session: str, n: int, what: str) -> None:
        self.found += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(session, n, what))

    def count(self) -> None:
        self.events += 1
        if self.progress is not None and self.events % STRIDE == 0:
            self.progress(self.events, max(self.events, self.expected))

    def result(self) -> Verification:
        if self.progress is not None:
            self.progress(self.events, self.events)
        more = self.found - len(self.problems)
        rest = (Problem("", 0, f"and {more} problems more"),) if more else ()
        return Verification(
            not self.found, self.events, len(self.heads), (*self.problems, *rest), self.heads, self.anchor,
            tuple(self.tombs), self.is_archive,
        )  # fmt: skip


def _verify(reader: Reader, audit: Audit, place: Place, key: bytes | None) -> None:
    for what in reader.damages():
        audit.report("", 0, what)
    meta, digest = reader.meta(), digest_with(key)
    name = store_of(place).name
    check_key(f"the ledger {name}", meta, key)
    if {n: v for n, v in meta.items() if n not in ("archive", "version")} != meta_of(key):
        audit.report("", 0, "what the ledger says about its hashes is not what Sidecar writes")
    is_archive = audit.is_archive = "archive" in meta
    if is_archive and audit.anchors:
        audit.report("", 0, "an archive has no anchors of its own; give them to the check of its ledger")
    audit.expected = int(next(reader.rows("SELECT coalesce(sum(n), 0) FROM heads"))[0])
    _read_house(reader, audit)
    heads: dict[str, list[Head]] = {}
    for session, *head in reader.rows("SELECT session, n, hash, tokens FROM heads"):
        heads.setdefault(session, []).append(Head(*head))
    for session, rows in itertools.groupby(reader.rows(ROWS), key=itemgetter(0)):
        _check_chain(reader, session, rows, heads.get(session, []), audit, digest, is_archive=is_archive)
    for session, n, hashed, tokens in reader.rows(ORPHANS):
        if audit.tombs.get(session) == Head(n, hashed, tokens):
            audit.heads[session] = n, hashed
        else:
            audit.report(session, 0, f"the heads say {n} rows, there is none: the session was removed")
    check_strangers(reader, audit.heads, audit.report)
    if not is_archive:
        check_groups(reader, audit, digest)
    for session, (n, hashed) in audit.known.items():
        _check_known(session, n, hashed, audit)


def _read_house(reader: Reader, audit: Audit) -> None:
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
        except (ValueError, KeyError, TypeError):
            continue  # an edited row; its hash says so
    from governance.plane.tombstones import read_shares, tombstone_digest

    for session, n, hashed, tokens, shares in reader.rows(ARCHIVED):
        if told.pop((session, n), None) != tombstone_digest(session, n, hashed, tokens, shares):
            audit.report(session, 0, f"rows up to {n} are said to be archived, and nobody has put that on record")
        audit.tombs[session] = Head(n, hashed, tokens)
        for g, events, total in read_shares(shares):
            audit.shares[g] = audit.shares.get(g, 0) + events * ONE + total
    for session, n in told:
        audit.report(session, 0, f"was archived up to row {n}, and what stands for these rows is gone")


def _check_chain(
    reader: Reader,
    session: str,
    rows: Iterable[tuple[Any, ...]],
    heads: list[Head],
    audit: Audit,
    digest: Digest,
    *,
    is_archive: bool,
) -> None:
    """One session: its rows against themselves, against each other, and against its head."""
    number, last, tokens = audit.tombs.get(session, NO_HEAD)
    sound, shares, named, partial = True, audit.shares, References(audit.pruned), False
    known = audit.known.get(session)
    for _, n, g, ts, kind, path, actor, body, prev, hashed in rows:
        audit.count()
        if is_archive and not last:
            number, last, partial = n - 1, prev, n > 1  # the rows before it are in an older archive
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
    _check_head(session, heads, Head(number, last, tokens), audit, sound=sound and not partial)
    if named.erased:
        audit.erased.add(session)
    if sound:
        if is_archive and session in audit.erased:
            named.needed.clear()
        check_payloads(reader, session, named, audit.report)


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


def _check_known(session: str, n: int, hashed: str, audit: Audit) -> None:
    end, tomb = audit.heads.get(session), audit.tombs.get(session)
    if tomb is not None and n <= tomb.n:
        if n == tomb.n and hashed != tomb.hash:
            audit.report(session, n, f"has hash {tomb.hash[:12]}, known as {hashed[:12]}: the chain was rewritten")
    elif end is None:
        audit.report(session, 0, f"was known with {n} rows and is gone")
    else:
        audit.report(session, 0, f"ends at row {end[0]}, known up to row {n} ({hashed[:12]}): its tail was cut")


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
