"""Whether effects happen once: sessions on a real service are killed at random moments and resumed until done.

Two processes run sessions at a time, and their successors go on with them, in turn on an event loop and in
threads. Half of the sessions write their checkpoints beside their work (durability "async"), half before it
goes on ("sync"). The model answers differently each time it is asked. Every session is run again from an
earlier checkpoint, half of them after a change of state there. Some kills are aimed at requests under way;
which of them cut an effect off is read from the control file. A killed process loses what it had in memory;
what a machine without power loses is not tried here.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import Progress

from benchmarks import effects_service
from benchmarks.effects_books import KINDS, Cut, Findings, cut_off, judge, settle_by_hand
from benchmarks.effects_notes import Told, read_notes
from benchmarks.effects_one_order import SESSIONS, Outcome, fifty
from benchmarks.effects_worker import AT_ONCE, LEASE, Place, Task, work
from benchmarks.findings import lines as lines_of
from benchmarks.kills import Ear, take_aim
from benchmarks.report import Target, report
from governance.plane import effects

FULL, QUICK = 200, 30
PROCESSES = (1, 3)
TARGETS = {
    "lost": Target(0),
    "repeated": Target(0),
    "guessed": Target(0),
    "parked_unneeded": Target(0),
    "ledger_rows_lost": Target(0),
    "failed": Target(0),
    "refunds_of_one_order": Target(1),
}
SHARE = 0.25
"""The share of kills that must have cut an effect off between its intent and its outcome."""
TRIES = 10
"""How often a session may fail, or wait for a person, before it is left as it is."""
MOST = 2
"""Lives of a slot's workers for each kill that is owed, at most: some end before they are killed."""
LIVES = 20
"""How often a slot's worker is started at the end, when nobody kills it any more, before it is given up."""


class Slot:
    """One worker after another on the same sessions."""

    def __init__(self, place: Place, ear: Ear) -> None:
        self.place, self.ear = place, ear
        self.kills = self.between = self.lives = 0
        self.settled: list[str] = []
        self._coming = _tasks(place.slot)
        self._tasks: list[Task] = []
        self.cut: set[Cut] = set()
        self._context = multiprocessing.get_context("forkserver")

    @property
    def sessions(self) -> str:
        """How the names of its sessions begin."""
        return f"s{self.place.slot}-"

    def kill_one(self) -> None:
        """Start a worker and kill it, unless it has ended by itself."""
        self._drop_done(read_notes(self.place.notes))
        self._tasks += itertools.islice(self._coming, 2 * AT_ONCE - len(self._tasks))
        process = self._start()
        take_aim(process, self.ear, 2 * LEASE)
        process.kill()
        process.join()
        if process.exitcode is not None and process.exitcode < 0:
            self.kills += 1
            self.between += self._cut_off()
        self._settle()

    def finish(self) -> Told:
        """Run what was begun to its end, in peace."""
        for _ in range(LIVES):
            told = read_notes(self.place.notes)
            self._drop_done(told)
            self._tasks = [task for task in self._tasks if task.session in told.begun]
            if not self._tasks:
                break
            self._start().join()
            if not self._settle() and read_notes(self.place.notes).forked == told.forked:
                break
        return read_notes(self.place.notes)

    def _drop_done(self, told: Told) -> None:
        """Also those that cannot go on, which would only stand in the way of others: they are reported."""
        stuck = Counter(note["session"] for note in (*told.failed, *told.parked))
        self._tasks = [one for one in self._tasks if one.session not in told.forked and stuck[one.session] < TRIES]

    def _start(self) -> multiprocessing.process.BaseProcess:
        self.lives += 1
        options = {"asynchronous": bool((self.lives + self.place.slot) % 2)}
        process = self._context.Process(target=work, args=(self.place, tuple(self._tasks)), kwargs=options)
        process.start()
        return process

    def _cut_off(self) -> bool:
        """Whether this kill left an effect behind that had begun and not ended."""
        new = cut_off(self._control, self.sessions) - self.cut
        self.cut |= new
        return bool(new)

    def _settle(self) -> bool:
        settled = settle_by_hand(self._control, self.place.port, self.sessions)
        self.settled += settled
        return bool(settled)

    @property
    def _control(self) -> Path:
        return self.place.folder / "control.db"


def _tasks(slot: int) -> Iterator[Task]:
    """Sessions without an end: every other one with each durability, every other pair waits for a person."""
    for number in itertools.count():
        yield Task(f"s{slot}-{number}", "async" if number % 2 else "sync", asks=number % 4 < 2)


def killed(folder: Path, port: int, ear: Ear, kills: int, progress: Progress) -> tuple[list[Slot], Findings]:
    """Kill as often as is owed, let everything end, and compare."""
    slots = [Slot(Place(folder, number, port), ear) for number in range(2)]
    bar = progress.add_task("kills", total=kills)

    def one(slot: Slot) -> Told:
        while slot.lives < MOST * kills and (
            sum(other.kills for other in slots) < kills or _between(slots) < SHARE * kills
        ):
            slot.kill_one()
            progress.update(bar, completed=sum(other.kills for other in slots))
        return slot.finish()

    with ThreadPoolExecutor(len(slots)) as pool:
        told = list(pool.map(one, slots))
    cut = set.union(*(slot.cut for slot in slots))
    settled = {session for slot in slots for session in slot.settled}
    return slots, judge(folder, told, cut, settled)


def _between(slots: list[Slot]) -> int:
    return sum(slot.between for slot in slots)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.effects", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} kills instead of {FULL}; ends within 50 s")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--data", help="not used: this benchmark makes its own sessions")
    options = parser.parse_args(argv)
    kills = QUICK if options.quick else FULL
    # Importing takes longer than a worker lives; this process imports once, and workers are its children.
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmarks.effects_worker"])
    ear, began = Ear(), time.monotonic()
    with tempfile.TemporaryDirectory() as name, Progress(disable=options.json) as progress:
        folder = Path(name)
        with effects_service.at_work(folder / "service.db", ear.heard) as port:
            slots, findings = killed(folder, port, ear, kills, progress)
            orders = [fifty(folder, port, folder / "service.db", processes=number) for number in PROCESSES]
    figures: dict[str, float | None] = {
        "kills": sum(slot.kills for slot in slots),
        "kills_between_intent_and_outcome": _between(slots),
        "lost": len(findings.lost) + sum(one.refunds == 0 for one in orders),
        "repeated": len(findings.repeated),
        "guessed": len(findings.guessed) + sum(one.guessed for one in orders),
        "parked_unneeded": len(findings.parked_unneeded),
        "ledger_rows_lost": len(findings.ledger_rows_lost),
        "failed": len(findings.failed) + sum(len(one.failed) for one in orders),
        "refunds_of_one_order": max(one.refunds for one in orders),
        "sessions": findings.sessions,
        "seconds": time.monotonic() - began,
    }
    targets = TARGETS | {
        "kills": Target(kills, "at least"),
        "kills_between_intent_and_outcome": Target(SHARE * kills, "at least"),
    }
    return report("effects", figures, targets, notes=_notes(slots, findings, orders), only_json=options.json)


def _notes(slots: list[Slot], findings: Findings, orders: list[Outcome]) -> str:
    lives, settled = sum(slot.lives for slot in slots), sum(len(slot.settled) for slot in slots)
    lines = [
        f"{findings.sessions} sessions to their end and again from an earlier checkpoint, in {lives} lives of a worker;"
        f" {findings.effects} effects carried out; {settled} were for a person, and were settled by hand",
        f"leases of {LEASE:g} s (users get {effects.LEASE:g} s)",
    ]
    for processes, one in zip(PROCESSES, orders, strict=True):
        lines.append(
            f"{SESSIONS} sessions on one order in {processes} process{'es' if processes > 1 else ''}: "
            f"{one.refunds} refund, {one.answered} told of it, {one.refused} refused for asking for another amount"
        )
        lines += sorted(set(one.failed))[:3]
    return "\n".join([*lines, *lines_of(findings, KINDS)])


if __name__ == "__main__":
    sys.exit(main())
