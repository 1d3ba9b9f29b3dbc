"""An archive proves that it is one, as far as it can: a ledger that was cut does not pass for it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from governance.errors import LedgerError
from governance.plane import retention
from governance.plane.archives import Contents, Part
from governance.plane.ledger import Ledger
from governance.plane.ledger_rows import digest_with
from governance.plane.verify import verify

KEY = b"a key of at least 16 bytes"


def written(path: Path, key: bytes | None = None) -> Ledger:
    """Sessions a and b of three rows in three groups."""
    ledger = Ledger(path, key=key)
    for number in range(3):
        for session in ("a", "b"):
            ledger.record(session, "x", body={"n": number})
        ledger.flush()
    ledger.close()
    return ledger


@pytest.fixture(params=[None, KEY], ids=["plain", "sealed"])
def key(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def archive(tmp_path: Path, key: Any) -> Path:
    file = tmp_path / "old.db"
    retention.archive(written(tmp_path / "ledger.db", key), time.time_ns(), file, by="local:ann")
    return file


def edit(path: Path, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for one in statements:
            db.execute(*((one,) if isinstance(one, str) else one))


def problems(path: Path, key: Any) -> list[str]:
    return [str(one) for one in verify(path, key=key).problems]


def test_an_archive_is_whole_by_itself(archive: Path, key: Any) -> None:
    found = verify(archive, key=key)

    assert (True, True, 6) == (found.ok, found.is_archive, found.events)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["DELETE FROM events WHERE session='a'", "DELETE FROM heads WHERE session='a'"], "with 2 sessions, 1 are"),
        (["DELETE FROM events WHERE session='a' AND n=1"], "was sealed with other rows than are there"),
        (["UPDATE meta SET value='1' WHERE name='archive'"], "no archiving has sealed that"),
    ],
)
def test_what_was_taken_out_of_an_archive_is_missed(
    archive: Path, key: Any, statements: list[str], expected: str
) -> None:
    """Its oldest rows too, which an archive of a session's second half does not have either."""
    edit(archive, *statements)

    assert any(expected in line for line in problems(archive, key))


OLDEST = ("DELETE FROM events WHERE n < 3", "DELETE FROM groups")


def posing(path: Path, mark: str) -> None:
    edit(path, *OLDEST, ("INSERT INTO meta VALUES('archive', ?)", (mark,)))


def resealed(path: Path, digest: Callable[[bytes], bytes]) -> str:
    """The mark that an archive of what is left would have."""
    contents = Contents()
    with closing(sqlite3.connect(path)) as db:
        for session, n, prev, hashed in db.execute("SELECT session, n, prev, hash FROM events WHERE n = 3"):
            contents = contents.having(Part(session, n, prev, n, hashed), digest, instead=None)
    return contents.sealed(digest)


def test_a_ledger_without_its_oldest_rows_does_not_pass_for_an_archive(tmp_path: Path, key: Any) -> None:
    path = written(tmp_path / "ledger.db", key).path
    posing(path, "1")

    assert ["it says that it is an archive, and no archiving has sealed that"] == problems(path, key)


def test_only_who_has_the_key_can_seal_what_is_no_archive(tmp_path: Path, key: Any) -> None:
    """Without a key anybody can; that is what anchors, and the ledger itself, are for."""
    path = written(tmp_path / "ledger.db", key).path
    anchor = verify(path, key=key).anchor
    assert anchor is not None
    posing(path, resealed(path, digest_with(None)))

    assert [] == problems(path, key) if key is None else "no archiving has sealed that" in problems(path, key)[0]
    assert not verify(path, key=key, anchors=[anchor]).ok


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ((), "has groups, as only a ledger has"),
        (("UPDATE events SET session='operator' WHERE session='a'",), "operator: is never archived"),
    ],
)
def test_what_only_a_ledger_has_gives_it_away(tmp_path: Path, before: tuple[str, ...], expected: str) -> None:
    path = written(tmp_path / "ledger.db").path
    edit(path, *before, "INSERT INTO meta VALUES('archive', '1')")

    assert any(expected in line for line in problems(path, None))


def test_nothing_is_recorded_in_an_archive(archive: Path, key: Any) -> None:
    ledger = Ledger(archive, key=key)
    ledger.record("a", "x")

    with pytest.raises(LedgerError, match="is an archive, and nothing is recorded in one"):
        ledger.flush()
    ledger.close()


def test_an_archiving_that_was_cut_off_goes_on_under_the_same_seal(archive: Path, key: Any, tmp_path: Path) -> None:
    """The copy was made, and the ledger still has the rows: they are copied once more."""
    again = written(tmp_path / "again.db", key)
    with closing(sqlite3.connect(archive)) as db, closing(sqlite3.connect(again.path)) as other:
        rows = other.execute("SELECT * FROM events").fetchall()
        assert 6 == len(rows) == len(db.execute("SELECT 1 FROM events").fetchall())
    file = tmp_path / "second.db"
    retention.archive(again, time.time_ns(), file, by="local:ann")
    with again.store().reader() as reader:
        assert [] == list(reader.rows("SELECT 1 FROM events WHERE session='a'"))
    edit(again.path, "DELETE FROM archived")
    for row in rows:
        edit(again.path, (f"INSERT INTO events VALUES({','.join('?' * len(row))})", row))
    retention.archive(again, time.time_ns(), file, by="local:ann")

    assert [] == problems(file, key)
