"""The rows of a session put together as what they tell: runs, executions of nodes in them, calls in these.

What a kill cut off is left out where the session went on with it: the runs before and after it are one, and of
an execution that was lost and done again only the second counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from governance.errors import RecordIncomplete
from governance.replay.recording import NEEDED, Recording, Row

INNER = ("model", "tool")
CUT = ("left", "drained")


@dataclass(slots=True, eq=False)
class Call:
    """One call of a model or tool, by the row that says how it ended."""

    row: Row
    of: Execution

    @property
    def begin(self) -> int:
        return self.row.ts - int(self.row.body.get("us", 0)) * 1000

    @property
    def end(self) -> int:
        return self.row.ts

    @property
    def family(self) -> str:
        """The path without the last ordinal: what calls of the same tool or model in one execution share."""
        return self.row.path.rpartition(".")[0]


@dataclass(slots=True, eq=False)
class Execution:
    """One execution of a node or task."""

    begun: Row
    segment: int
    ended: Row | None = None
    calls: list[Call] = field(default_factory=list)
    children: Places = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.begun.path

    @property
    def cut(self) -> bool:
        """Whether nobody saw how it ended: it was killed or cancelled."""
        return self.ended is None or (self.ended.word == "interrupted" and "asked" not in self.ended.body)

    def all(self) -> Iterator[Execution]:
        yield self
        for inner in executions(self.children):
            yield from inner.all()


Places = dict[str, list[Execution]]
"""Executions by path, in the order in which they began."""


@dataclass(slots=True)
class Run:
    """One run of the graph, or several that are one as a kill or a drain came between."""

    begun: Row
    rested: Row | None = None
    places: Places = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def how(self) -> Literal["input", "resume", "on"]:
        if self.begun.kind == "run.input":
            return "input"
        return "resume" if {"resume", "update", "goto"} & self.begun.body.keys() else "on"

    @property
    def end(self) -> str | None:
        """How it ended; None where it did not come to its end: it was killed, cancelled, left or drained."""
        end = None if self.rested is None else str(self.rested.body["end"])
        return None if end in CUT else end

    def all(self) -> Iterator[Execution]:
        for one in executions(self.places):
            yield from one.all()


@dataclass(frozen=True, slots=True)
class Changed:
    """A change of the state past the nodes, between two runs."""

    begun: Row


Step = Run | Changed


def executions(places: Places) -> list[Execution]:
    return [one for those in places.values() for one in those]


def transcript(recording: Recording) -> list[Step]:
    """What happened, in order; raises `RecordIncomplete` where it cannot be told from the rows."""
    steps: list[Step] = []
    reader = _Reader()
    for row in recording.rows:
        if row.kind in ("run.input", "run.resumed"):
            reader.begin(row, steps)
        elif row.kind == "run.changed":
            steps.append(Changed(row))
        else:
            reader.read(row)
    runs = [one for one in steps if isinstance(one, Run)]
    if not runs:
        raise RecordIncomplete(
            f"{recording.session} has no run on record with its input: a replay needs {NEEDED} from its first run on"
        )
    for run in runs:
        run.places = _settled(run.places)
    return steps


class _Reader:
    """Reads rows one after the other, and knows which executions are open at which path."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.segment = 0
        self.open: dict[str, Execution] = {}
        self.known: dict[str, Execution] = {}

    def begin(self, row: Row, steps: list[Step]) -> None:
        self.segment += 1
        self.open = {}
        before = steps[-1] if steps else None
        if isinstance(before, Run) and before.end is None and _only_goes_on(row):
            before.rested = None
            return
        self.run = Run(row)
        steps.append(self.run)

    def read(self, row: Row) -> None:
        if self.run is None:
            if row.kind == "node.begun":
                raise RecordIncomplete(
                    f"row {row.n} ({row.path}) belongs to a run whose input is not on record: a replay needs {NEEDED} "
                    "from the first run of a session on",
                    n=row.n,
                )
            return
        self.run.rows.append(row)
        if row.kind == "run.rested":
            self.run.rested = row
        elif row.kind == "node.begun":
            self._begun(row, self.run)
        elif row.boundary == "node":
            found = self.known.get(row.body.get("execution", ""))
            if found is not None and found.ended is None:
                found.ended = row
        elif row.boundary in INNER and "us" in row.body:
            self._called(row)

    def _begun(self, row: Row, run: Run) -> None:
        if ">" in row.path:
            return  # in a graph that a tool runs, and the tool is given its result
        made = Execution(row, self.segment)
        self.open[row.path] = self.known[row.body.get("execution", "")] = made
        above = self.open.get(row.path.rpartition("/")[0]) if "/" in row.path else None
        places = run.places if above is None else above.children
        places.setdefault(row.path, []).append(made)

    def _called(self, row: Row) -> None:
        node, _, call = row.path.partition(">")
        if "/" in call or ">" in call:
            return
        of = self.known.get(row.body.get("of", "")) or self.open.get(node)
        if of is not None:
            of.calls.append(Call(row, of))


def _only_goes_on(row: Row) -> bool:
    return row.kind == "run.resumed" and not {"resume", "update", "goto", "rewinds"} & row.body.keys()


def _settled(places: Places) -> Places:
    """Without what was lost: an execution that was cut off, or whose result was, and that was done again later."""
    found: Places = {}
    for path, those in places.items():
        kept: list[Execution] = []
        for one in those:
            while kept and (kept[-1].cut or kept[-1].segment < one.segment):
                one.children = _joined(kept.pop().children, one.children)
            kept.append(one)
        for one in kept:
            one.children = _settled(one.children)
        found[path] = kept
    return found


def _joined(first: Places, then: Places) -> Places:
    return {path: [*first.get(path, ()), *then.get(path, ())] for path in dict.fromkeys((*first, *then))}
