"""The snapshot of stops: an order holds from the moment it is given, and no reading of the file loses it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from governance.errors import LedgerError
from governance.plane.control import Control
from governance.plane.stops import SCHEMA, Stop, Stops

ORDER = Stop("tool", "pay", "too much", "rule:errors", 1.0)


def file() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    return db


def test_an_order_that_no_file_has_yet_outlives_a_reading_of_the_file() -> None:
    stops = Stops()
    stops.order(ORDER)
    with closing(file()) as db:
        stops.read(db)

    assert {ORDER.key: ORDER} == stops.standing


def test_an_order_that_the_file_has_is_gone_when_the_file_says_so() -> None:
    stops = Stops()
    stops.order(ORDER)
    with closing(file()) as db:
        stops.write(ORDER.key, db)
        stops.written(ORDER.key)
        stops.read(db)
        assert {ORDER.key: ORDER} == stops.standing
        db.execute("DELETE FROM stops")
        stops.read(db)

    assert {} == stops.standing


def test_an_order_that_was_lifted_is_not_written() -> None:
    stops = Stops()
    stops.order(ORDER)
    assert stops.lift(ORDER.key, 2.0)
    with closing(file()) as db:
        stops.write(ORDER.key, db)
        found = db.execute("SELECT * FROM stops").fetchall()

    assert ([], {}, {ORDER.key: 2.0}) == (found, stops.standing, stops.lifts)


def test_an_order_does_not_replace_the_stop_that_the_file_has() -> None:
    stops = Stops()
    assert stops.order(ORDER, again=False)
    assert not stops.order(ORDER._replace(by="rule:spend"), again=False)
    with closing(file()) as db:
        db.execute("INSERT INTO stops VALUES('tool','pay','mine','alice',0)")
        stops.write(ORDER.key, db)
        stops.written(ORDER.key)
        stops.read(db)

    assert "alice" == stops.standing[ORDER.key].by


def test_a_stop_that_cannot_be_written_is_none_and_the_one_before_stands(tmp_path: Path) -> None:
    with closing(Control(tmp_path / "control.db")) as control:
        control.stop("tool", "pay", reason="first", by="ann")
        (tmp_path / "control.db").rename(tmp_path / "away.db")
        for scope, name in (("tool", "pay"), ("agent", "n")):
            with pytest.raises(LedgerError, match="deleted or replaced"):
                control.stop(scope, name, reason="second", by="ann")  # type: ignore[arg-type]

        assert {("tool", "pay"): "first"} == {key: stop.reason for key, stop in control.stops.items()}
