"""The benchmark of sagas goes by the books of the service: half of a session, and an undo too many, are found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.effects_graph import receipt
from benchmarks.effects_notes import Told
from benchmarks.effects_service import SCHEMA, Entry
from benchmarks.sagas_books import Findings, judge
from benchmarks.sagas_graph import references, taking_back
from benchmarks.sagas_worker import Task
from governance.plane.control import Control

TASKS = {"s0-0": Task("s0-0", "sync", "fails", mails=False)}
DONE = [Entry(ref, 7, f"r{n}") for n, ref in enumerate(references("s0-0", mails=False))]
UNDONE = [Entry(taking_back(receipt(one)), 7, f"u{one.receipt}") for one in reversed(DONE)]
Judged = Callable[..., Findings]


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    """What is found where the service did this, and the session is known to be in that state."""

    def find(entries: list[Entry], state: str | None = None) -> Findings:
        with closing(sqlite3.connect(tmp_path / "service.db")) as db:
            db.executescript(SCHEMA)
            db.executemany("INSERT INTO done VALUES(?,?,?,?)", [(n, *one) for n, one in enumerate(entries)])
            db.commit()
        told = Told(begun={"s0-0"}, ended={} if state else {"s0-0": {}})
        if state:
            with closing(Control(tmp_path / "control.db")) as control, control.transaction() as db:
                db.execute("INSERT INTO sagas VALUES('s0-0',?,'jobs','failed','','policy',0,0)", (state,))
        return judge(tmp_path, [told], TASKS)

    return find


def wrong(found: Findings) -> dict[str, Any]:
    kinds = ("half", "undone_twice", "undone_for_nothing", "out_of_order", "lost")
    return {kind: len(getattr(found, kind)) for kind in kinds if getattr(found, kind)}


def test_a_session_that_is_wholly_done_is_right(judged: Judged) -> None:
    assert ({}, 1) == (wrong(found := judged(DONE)), found.done)


def test_a_session_that_is_wholly_undone_is_right(judged: Judged) -> None:
    assert ({}, 1) == (wrong(found := judged([*DONE, *UNDONE], "undone")), found.undone)


@pytest.mark.parametrize(
    ("entries", "state", "expected"),
    [
        (DONE[:-1], None, {"half": 1}),
        ([*DONE, *UNDONE[:-1]], "undone", {"half": 1}),
        ([*DONE, *UNDONE[:-1]], "parked", {"half": 1}),
        ([*DONE, *UNDONE, UNDONE[-1]._replace(receipt="again")], "undone", {"undone_twice": 1}),
        (UNDONE[:1], "undone", {"undone_for_nothing": 1}),
        ([*DONE, *reversed(UNDONE)], "undone", {"out_of_order": 1}),
        (DONE, "undoing", {"lost": 1}),
    ],
)
def test_what_is_wrong_is_found(entries: list[Entry], state: Any, expected: Any, judged: Judged) -> None:
    assert expected == wrong(judged(entries, state))
