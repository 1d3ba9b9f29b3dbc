"""Whether a record holds all that a replay of it needs; asked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from governance.errors import RecordIncomplete
from governance.replay.recording import Recording, Row
from governance.replay.transcript import Call, Execution, Run, Step

RUN = ("input", "resume", "update", "goto", "configured", "context")
OF_ENDED = {"node": ("update",), "model": ("prompt", "answer"), "tool": ("result",)}


def check_whole(recording: Recording, steps: Sequence[Step]) -> None:
    """Raise `RecordIncomplete` with the first row that lacks something, and what to do about it."""
    for step in steps:
        if not isinstance(step, Run):
            recording.tree(step.begun, "updates")
            continue
        if step.begun.body.get("rewinds"):
            raise RecordIncomplete(
                f"row {step.begun.n} of {recording.session}: this run began at an earlier checkpoint, which a record "
                "does not hold; replay the sessions that were not rewound"
            )
        for name in RUN:
            if name in step.begun.body:
                recording.tree(step.begun, name)
        for row, names in _needed(step):
            for name in names:
                recording.tree(row, name)


def _needed(run: Run) -> Iterator[tuple[Row, tuple[str, ...]]]:
    for execution in run.all():
        yield execution.begun, ("input",)
        yield from _of(execution)
        for call in execution.calls:
            yield from _of(call)


def _of(one: Execution | Call) -> Iterator[tuple[Row, tuple[str, ...]]]:
    row = one.ended if isinstance(one, Execution) else one.row
    if row is None:
        return
    if row.word == "ended":
        yield row, OF_ENDED[row.boundary]
        if row.boundary == "model" and "form" not in row.body:
            raise RecordIncomplete(
                f"row {row.n} ({row.path}): this answer was a stream of events, which no record can give again", n=row.n
            )
    elif row.boundary == "model":
        yield row, ("prompt",)
    if row.word == "failed" and not isinstance(one, Execution):
        yield row, ("raised",)
