"""A ledger sealed with a key: nobody without it can write a chain that verifies."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from governance.errors import LedgerError, PolicyError
from governance.plane.ledger import Ledger
from governance.plane.ledger_rows import closed, digest_with, event_hash, hash_sum
from governance.plane.ledger_settings import key_of
from governance.plane.verify import verify
from governance.policy import LedgerPolicy

KEY, OTHER = b"a key of at least 16 bytes", b"another key of 16 bytes"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return tmp_path / "ledger.db" if request.param == "sqlite" else request.getfixturevalue("postgres")


def write(place: Any, key: bytes | None) -> None:
    ledger = Ledger(place, key=key)
    try:
        ledger.record("a", "x", body={"n": 1})
        ledger.flush()
    finally:
        ledger.close()


def test_it_verifies_with_its_key(place: Any) -> None:
    write(place, KEY)
    write(place, KEY)

    assert verify(place, key=KEY).ok


@pytest.mark.parametrize(
    ("written", "given", "expected"),
    [
        (KEY, None, "is sealed with a key; give it by SIDECAR_LEDGER_KEY or"),
        (KEY, OTHER, "is sealed with another key than the one given"),
        (None, KEY, "was begun without a key, and one was given"),
    ],
)
@pytest.mark.parametrize("act", ["verify", "write"])
def test_the_wrong_key_is_said_to_be_wrong(place: Any, written: Any, given: Any, expected: str, act: str) -> None:
    write(place, written)

    with pytest.raises(LedgerError, match=expected) as caught:
        verify(place, key=given) if act == "verify" else write(place, given)
    assert "ledger-key" == caught.value.code


def test_a_chain_written_anew_without_the_key_is_found(tmp_path: Path) -> None:
    """Everything else fits: rows, head, group."""
    path = tmp_path / "ledger.db"
    write(path, KEY)
    with closing(sqlite3.connect(path)) as db, db:
        hashed = event_hash("", "a", 1, 1, 1, "x", "", "", '{"n":2}')
        db.execute("UPDATE events SET ts=1, body=?, hash=?", ('{"n":2}', hashed))
        db.execute("UPDATE heads SET hash=?", (hashed,))
        group = closed(1, "", 1, 1, int(hash_sum([hashed]), 16), digest_with(None))
        db.execute("UPDATE groups SET ts=?, events=?, sum=?, prev=?, hash=? WHERE g=1", group[1:])

    assert ["a:1: was", "group 1 "] == [str(problem)[:8] for problem in verify(path, key=KEY).problems]


@pytest.mark.parametrize("secret", [KEY.decode(), f"  {KEY.decode()}\n"])
def test_the_key_of_a_file_is_its_text(tmp_path: Path, secret: str) -> None:
    (tmp_path / "key").write_text(secret)

    assert KEY == key_of(LedgerPolicy(key_file=str(tmp_path / "key")))


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_LEDGER_KEY", OTHER.decode())

    assert OTHER == key_of(LedgerPolicy(key_file=str(tmp_path / "nowhere")))


def test_a_key_that_is_too_short_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short")
    with pytest.raises(PolicyError, match="has 5 characters; expected at least 16"):
        key_of(LedgerPolicy(key_file=str(tmp_path / "key")))
    with pytest.raises(PolicyError, match=r"nowhere cannot be read"):
        key_of(LedgerPolicy(key_file=str(tmp_path / "nowhere")))
