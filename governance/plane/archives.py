"""What an archive says about itself: how many sessions are in it, where each begins and ends, and a seal on that.

An archive has no chain over all its rows, so without this a ledger whose oldest rows were taken out could pass
for one. Sealed with the ledger's key, nobody without the key can make an archive of what is none.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from governance import canonical
from governance.plane.ledger_rows import MODULUS, Digest
from governance.plane.ledger_store import Change

MARK = "archive"
"""The name in `meta` under which it says so."""
FIRST = "SELECT n, prev FROM events WHERE session=? ORDER BY n LIMIT 1"
LAST = "SELECT n, hash FROM events WHERE session=? ORDER BY n DESC LIMIT 1"


class Part(NamedTuple):
    """What is in an archive of one session: from which row to which."""

    session: str
    first: int
    prev: str
    n: int
    hash: str

    def counted(self, digest: Digest) -> int:
        """Its share of the sum."""
        return int.from_bytes(digest(canonical.encode(self)), "big")


class Contents(NamedTuple):
    """All parts added up: the order in which they came does not matter."""

    sessions: int = 0
    total: int = 0

    def having(self, part: Part, digest: Digest, *, instead: Part | None) -> Contents:
        """The same with one part more, or with another in its place."""
        before = instead.counted(digest) if instead else 0
        total = (self.total + part.counted(digest) - before) % MODULUS
        return Contents(self.sessions + (instead is None), total)

    def sealed(self, digest: Digest) -> str:
        """The stored text."""
        facts = [self.sessions, f"{self.total:064x}"]
        return canonical.text([*facts, digest(canonical.encode([MARK, *facts])).hex()])


def contents_of(text: str) -> Contents | None:
    """What a stored text says; None where it is none of ours."""
    try:
        sessions, total, _ = orjson.loads(text)
        return Contents(int(sessions), int(total, 16))
    except (ValueError, TypeError):
        return None


def part_of(change: Change, session: str) -> Part | None:
    """What an archive holds of a session by now."""
    first, last = next(change.rows(FIRST, session), None), next(change.rows(LAST, session), None)
    return Part(session, *first, *last) if first and last else None
