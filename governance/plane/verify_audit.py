"""What a check of a ledger has seen so far, and what it says in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from governance.plane.anchors import Anchor
from governance.plane.archives import Contents
from governance.plane.ledger_rows import Head

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
    """Whether all that was looked at is as it was written; `unseen` was not."""
    events: int
    sessions: int
    problems: tuple[Problem, ...]
    heads: Mapping[str, tuple[int, str]]
    anchor: Anchor | None = None
    archived: tuple[str, ...] = ()
    """Sessions whose older rows are in an archive; whole only together with it."""
    unseen: Mapping[str, int] = field(default_factory=dict)
    """Those of them, with their rows, whose archive nobody has given: that it is whole is taken on trust."""
    archives: tuple[str, ...] = ()
    """The names of the files that the ledger says they went to."""
    is_archive: bool = False
    """Whether this is such an archive: it has chains of sessions, and none over all of them."""


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
    files: dict[str, None] = field(default_factory=dict)
    """Where the rows behind the tombstones went."""
    pruned: int = 0
    """Payloads of rows older than this may be missing."""
    erased: set[str] = field(default_factory=set)
    """Sessions whose payloads were erased."""
    is_archive: bool = False
    contents: Contents = field(default_factory=Contents)
    """Of an archive: what its sessions add up to."""
    anchor: Anchor | None = None

    def report(self, session: str, n: int, what: str) -> None:
        self.found += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(session, n, what))

    def count(self) -> None:
        self.events += 1
        if self.progress is not None and self.events % STRIDE == 0:
            self.progress(self.events, max(self.events, self.expected))

    def result(self, *, trusting: bool = False) -> Verification:
        """The end of it; `trusting` where there are tombstones, and nobody gave what they stand for."""
        if self.progress is not None:
            self.progress(self.events, self.events)
        more = self.found - len(self.problems)
        rest = (Problem("", 0, f"and {more} problems more"),) if more else ()
        return Verification(
            ok=not self.found,
            events=self.events,
            sessions=len(self.heads),
            problems=(*self.problems, *rest),
            heads=self.heads,
            anchor=self.anchor,
            archived=tuple(self.tombs),
            unseen={session: tomb.n for session, tomb in self.tombs.items()} if trusting else {},
            archives=tuple(self.files),
            is_archive=self.is_archive,
        )
