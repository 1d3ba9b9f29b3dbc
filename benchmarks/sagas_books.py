"""Compares what the service did and undid with what is known of the sessions: the service's own books decide."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.effects_books import rows
from benchmarks.effects_graph import receipt
from benchmarks.effects_notes import Told
from benchmarks.effects_service import Entry, entries
from benchmarks.sagas_graph import PARKS, RANKS, references, taking_back
from benchmarks.sagas_worker import Task
from governance.plane import parked
from governance.plane.control import Control
from governance.plane.undo_list import Listed, waiting

KINDS = ("half", "undone_twice", "undone_for_nothing", "out_of_order", "parked_unneeded", "lost", "failed")
Cut = tuple[str, str]
"""The effect whose undo was cut off, and the execution that was at it."""


@dataclass(slots=True)
class Findings:
    """What is wrong, in words; how many there are of a kind is the figure."""

    half: list[str] = field(default_factory=list)
    undone_twice: list[str] = field(default_factory=list)
    undone_for_nothing: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    parked_unneeded: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    done: int = 0
    undone: int = 0
    parked: int = 0


def judge(folder: Path, told: Sequence[Told], tasks: Mapping[str, Task]) -> Findings:
    """Go through all books once every session is over."""
    findings, books = Findings(), _Books(entries(folder / "service.db"))
    with closing(Control(folder / "control.db")) as control:
        waits = defaultdict(list)
        for one in waiting(control):
            waits[one.session].append(one)
        sagas = dict(control.rows("SELECT session, state FROM sagas"))
        open_effects = parked.waiting(control)
    findings.undone_twice += books.undone_twice()
    findings.undone_for_nothing += books.undone_for_nothing()
    findings.lost += [f"{one.session}: nobody knows how {one.tool} ended" for one in open_effects]
    for notes in told:
        findings.failed += [f"{note['session']}: {note['why']}" for note in notes.failed]
        for session in notes.begun:
            _judge(findings, books, tasks[session], session in notes.ended, sagas.get(session), waits[session])
    return findings


class _Books:
    """What the service did, and how often each of it was taken back, in the order of time."""

    def __init__(self, done: Sequence[Entry]) -> None:
        self.effects = {receipt(entry): n for n, entry in enumerate(done) if not entry.ref.startswith("undo ")}
        self.undos = [(entry.ref, n) for n, entry in enumerate(done) if entry.ref.startswith("undo ")]
        self.often = Counter(ref for ref, _ in self.undos)

    def of(self, session: str) -> list[str]:
        return [said for said in self.effects if said.startswith(f"{session}/")]

    def is_undone(self, said: str) -> bool:
        return taking_back(said) in self.often

    def undone_twice(self) -> list[str]:
        return [f"{ref}: {count} times" for ref, count in self.often.items() if count > 1]

    def undone_for_nothing(self) -> list[str]:
        return [ref for ref in self.often if ref.removeprefix("undo ") not in self.effects]

    def backwards(self, session: str) -> bool:
        """Whether nothing was undone before what came after it; branches have no order among themselves."""
        ranks = [_rank(ref) for ref, _ in self.undos if ref.startswith(f"undo {session}/")]
        return ranks == sorted(ranks, reverse=True)


def _rank(ref: str) -> int:
    return RANKS.index(ref.split()[1].rpartition("/")[2].partition("-")[0])


def _judge(
    findings: Findings, books: _Books, task: Task, ended: bool, saga: str | None, waits: Sequence[Listed]
) -> None:
    session, effects = task.session, books.of(task.session)
    in_force = sorted(said.split()[0] for said in effects if not books.is_undone(said))
    if not books.backwards(session):
        findings.out_of_order.append(session)
    if ended:
        findings.done += 1
        if in_force != sorted(references(session, task.mails)) or saga is not None:
            findings.half.append(f"{session} ended, and in force is {in_force}; its saga is {saga}")
    elif saga == "undone":
        findings.undone += 1
        if in_force:
            findings.half.append(f"{session} is undone, and in force is {in_force}")
    elif saga == "parked":
        findings.parked += 1
        _judge_parked(findings, session, in_force, waits)
    elif effects or saga is not None:
        findings.lost.append(f"{session} did {len(effects)} things, and its saga is {saga}")


def _judge_parked(findings: Findings, session: str, in_force: Sequence[str], waits: Sequence[Listed]) -> None:
    """All that is in force waits for a person, with all there is to know of it."""
    handed = {one.args["ref"] for one in waits if one.args and one.why}
    if not handed.issuperset(in_force):
        findings.half.append(f"{session} waits with {sorted(handed)}, and in force is {in_force}")
    findings.parked_unneeded += [f"{session} {one.tool}: {one.why}" for one in waits if one.tool not in PARKS]


def cut_undos(control: Path, sessions: str) -> set[Cut]:
    """Undos that were begun and not ended, of sessions whose names begin like this."""
    query = (
        "SELECT e.key, e.execution FROM effects AS e JOIN steps AS s ON s.key = e.key "
        "WHERE s.state='undoing' AND e.state='undoing' AND s.session GLOB ?"
    )
    return set(rows(control, query, (f"{sessions}*",)))


def over(control: Path, sessions: str) -> list[str]:
    """Sessions that are undone or parked."""
    query = "SELECT session FROM sagas WHERE state!='undoing' AND session GLOB ?"
    return [session for (session,) in rows(control, query, (f"{sessions}*",))]
