"""What a replay is held against, and what it has found: shared by all that watch it."""

from __future__ import annotations

import threading
from typing import Any

from governance.errors import ReplayDiverged
from governance.plane.redaction import Redaction
from governance.replay.alike import Difference, Likeness
from governance.replay.divergence import Divergence, What, shown
from governance.replay.recording import Recording, Row
from governance.replay.transcript import Run
from governance.replay.values import tree


class Findings:
    """The record, what counts as like it, the run that is being repeated, and every divergence so far."""

    def __init__(self, recording: Recording, likeness: Likeness, redaction: Redaction) -> None:
        self.recording = recording
        self.likeness = likeness
        self.redaction = redaction
        self.lock = threading.RLock()
        self._run: Run | None = None
        self._all: list[Divergence] = []

    @property
    def run(self) -> Run:
        assert self._run is not None, "nothing of a graph runs between two runs"
        return self._run

    @run.setter
    def run(self, run: Run) -> None:
        self._run = run

    @property
    def first(self) -> Divergence | None:
        return self._all[0] if self._all else None

    def diverge(
        self, path: str, what: What, row: Row | None, reason: str, difference: Difference | None = None
    ) -> ReplayDiverged:
        """Note a divergence; the error that ends what it happened in."""
        sides = (difference.where, shown(difference.recorded), shown(difference.came)) if difference else ()
        found = Divergence(path, what, row.n if row else None, reason, *sides)
        with self.lock:
            self._all.append(found)
        return ReplayDiverged(str(found), path=path, what=what)

    def check_over(self) -> None:
        """After a divergence nothing more is begun: what follows from it is none of its own."""
        if self._all:
            raise ReplayDiverged(str(self._all[0]))

    def tree(self, came: Any) -> Any:
        """A value that came, as its record would be."""
        return tree(came, self.redaction)

    def value(self, row: Row, name: str) -> Any:
        """A value of the record, to be given to the code that is replayed: under the ids that it knows."""
        pairs = self.likeness.pairs
        value = self.recording.value(row, name, pairs.forward_bytes)
        pairs.given(self.recording.tree(row, name))
        return value

    def compare(self, path: str, what: What, row: Row, name: str, came: Any, reason: str) -> None:
        """Raise where a value is not like the one of the record."""
        difference = self.likeness.difference(self.recording.tree(row, name), self.tree(came))
        if difference is not None:
            raise self.diverge(path, what, row, reason, difference)

    def may_differ(self, path: str) -> bool:
        """Beside what failed, or what a kill cut off, others get as far as time lets them."""
        if self.run.end is None:
            return True
        failed = (those[-1] for those in self.run.places.values() if _failed(those[-1].ended))
        return self.run.end == "failed" and any(step_of(one.path) == step_of(root_of(path)) for one in failed)


def _failed(ended: Row | None) -> bool:
    return ended is not None and ended.word in ("failed", "refused")


def step_of(path: str) -> str:
    """Where in its graph an execution is, whatever node it is of."""
    above, _, last = path.rpartition("/")
    return f"{above}#{last.partition('#')[2].partition('.')[0]}"


def number_of(path: str) -> int:
    """The number of the step that an execution belongs to; 0 for tasks, which have none."""
    number = step_of(path).rpartition("#")[2]
    return int(number) if number.isdigit() else 0


def root_of(path: str) -> str:
    """The execution of the outermost graph that a path leads through."""
    return path.partition("/")[0]
