"""Whether sessions end wholly done or wholly undone: they are killed while they act and while they are undone.

Two processes run sessions at a time, in turn on an event loop and in threads, and their successors go on with
them; each also goes on with what it finds half undone, be it its own or the other's. A quarter of the sessions
fails in the end, a quarter is refused by a person, a quarter is given up and undone by whoever finds it after a
kill, and a quarter passes. Some effects cannot be looked up, one has no undo: those wait for a person. The
service is no party to any of this and keeps its own books, which decide. A killed process loses what it had in
memory; what a machine without power loses is not tried here.
"""

from __future__ import annotations

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
from benchmarks.effects_notes import Told, read_notes
from benchmarks.effects_worker import AT_ONCE, LEASE, Place
from benchmarks.findings import lines as lines_of
from benchmarks.kills import Ear, take_aim
from benchmarks.options import options_of
from benchmarks.report import Target, report
from benchmarks.sagas_books import KINDS, Cut, Findings, cut_undos, judge, over
from benchmarks.sagas_graph import FATES
from benchmarks.sagas_worker import Task, work
from governance.plane import effects

FULL, QUICK = 200, 30
SHARE = 0.25
"""The share of kills that must have cut an undo off between its mark and its end."""
MOST = 4
"""Lives of a slot's workers for each kill that is owed, at most: some end before they are killed."""
LIVES = 10
"""How often a slot's worker is started at the end, when nobody kills it any more, before it is given up."""
TRIES = 5
"""How often a session may fail in a way that nobody wants before it is left as it is."""
TARGETS = {name: Target(0) for name in KINDS}


class Slot:
    """One worker after another on the same sessions."""

    def __init__(self, place: Place, ear: Ear) -> None:
        self.place, self.ear = place, ear
        self.kills = self.undoing = self.lives = 0
        self.all: dict[str, Task] = {}
        self._coming = _tasks(place.slot)
        self._open: list[Task] = []
        self._cut: set[Cut] = set()
        self._context = multiprocessing.get_context("forkserver")

    def kill_one(self) -> None:
        """Start a worker and kill it, unless it has ended by itself."""
        self._drop_over()
        new = list(itertools.islice(self._coming, 2 * AT_ONCE - len(self._open)))
        self._open += new
        self.all |= {task.session: task for task in new}
        process = self._start()
        take_aim(process, self.ear, 2 * LEASE)
        process.kill()
        process.join()
        if process.exitcode is not None and process.exitcode < 0:
            cut = cut_undos(self._control, self._sessions) - self._cut
            self._cut |= cut
            self.kills += 1
            self.undoing += bool(cut)

    def finish(self) -> Told:
        """Bring what was begun to its end, in peace."""
        for _ in range(LIVES):
            self._drop_over()
            begun = read_notes(self.place.notes).begun
            self._open = [task for task in self._open if task.session in begun]
            if not self._open:
                break
            self._start().join()
        return read_notes(self.place.notes)

    def _drop_over(self) -> None:
        told = read_notes(self.place.notes)
        ended = {*told.ended, *over(self._control, self._sessions)}
        stuck = Counter(note["session"] for note in told.failed)
        self._open = [one for one in self._open if one.session not in ended and stuck[one.session] < TRIES]

    def _start(self) -> multiprocessing.process.BaseProcess:
        self.lives += 1
        options = {"asynchronous": bool((self.lives + self.place.slot) % 2)}
        process = self._context.Process(target=work, args=(self.place, tuple(self._open)), kwargs=options)
        process.start()
        return process

    @property
    def _sessions(self) -> str:
        """How the names of its sessions begin."""
        return f"s{self.place.slot}-"

    @property
    def _control(self) -> Path:
        return self.place.folder / "control.db"


def _tasks(slot: int) -> Iterator[Task]:
    """Sessions without an end, with each durability and each fate; every seventh has a mail that nobody takes back."""
    for number in itertools.count():
        fate = FATES[number // 2 % len(FATES)]
        yield Task(f"s{slot}-{number}", "async" if number % 2 else "sync", fate, mails=number % 7 == 6)


def killed(folder: Path, port: int, ear: Ear, kills: int, progress: Progress) -> tuple[list[Slot], Findings]:
    """Kill as often as is owed, let everything end, and compare."""
    slots = [Slot(Place(folder, number, port), ear) for number in range(2)]
    bar = progress.add_task("kills", total=kills)

    def owed() -> bool:
        return _sum(slots, "kills") < kills or _sum(slots, "undoing") < SHARE * kills

    def one(slot: Slot) -> Told:
        while slot.lives < MOST * kills and owed():
            slot.kill_one()
            progress.update(bar, completed=_sum(slots, "kills"))
        return slot.finish()

    with ThreadPoolExecutor(len(slots)) as pool:
        told = list(pool.map(one, slots))
    return slots, judge(folder, told, {name: task for slot in slots for name, task in slot.all.items()})


def _sum(slots: list[Slot], what: str) -> int:
    return sum(getattr(slot, what) for slot in slots)


def main(argv: list[str] | None = None) -> int:
    quick = f"{QUICK} kills instead of {FULL}; ends within 50 s"
    parser = options_of("sagas", __doc__, quick=quick, data="not used: this benchmark makes its own sessions")
    options = parser.parse_args(argv)
    kills = QUICK if options.quick else FULL
    # Importing takes longer than a worker lives; this process imports once, and workers are its children.
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmarks.sagas_worker"])
    ear, began = Ear(), time.monotonic()
    with tempfile.TemporaryDirectory() as name, Progress(disable=options.json) as progress:
        folder = Path(name)
        with effects_service.at_work(folder / "service.db", ear.heard) as port:
            slots, findings = killed(folder, port, ear, kills, progress)
    figures: dict[str, float | None] = {
        "kills": _sum(slots, "kills"),
        "kills_in_compensation": _sum(slots, "undoing"),
        "sessions": findings.done + findings.undone + findings.parked,
        "done": findings.done,
        "undone": findings.undone,
        "parked": findings.parked,
        **{kind: len(getattr(findings, kind)) for kind in KINDS},
        "seconds": time.monotonic() - began,
    }
    targets = TARGETS | {
        "kills": Target(kills, "at least"),
        "kills_in_compensation": Target(SHARE * kills, "at least"),
    }
    notes = [
        f"{_sum(slots, 'lives')} lives of a worker; leases of {LEASE:g} s (users get {effects.LEASE:g} s)",
        *lines_of(findings, KINDS),
    ]
    return report("sagas", figures, targets, notes="\n".join(notes), only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
