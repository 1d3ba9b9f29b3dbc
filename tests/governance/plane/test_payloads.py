"""Payloads: stored once by digest, redacted before, read back as they were, and never trusted unseen."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from governance.errors import LedgerError, PolicyError
from governance.plane.ledger import Ledger
from governance.plane.payloads import restored, serialised
from governance.plane.redaction import MARK, Redaction
from governance.plane.verify import verify

CARD = r"\b\d{4}( ?\d{4}){3}\b"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    yield made
    made.close()


def bodies(ledger: Ledger, session: str = "s") -> list[dict[str, Any]]:
    ledger.flush()
    with ledger.store().reader() as reader:
        return [
            orjson.loads(body) for (body,) in reader.rows("SELECT body FROM events WHERE session=? ORDER BY n", session)
        ]


def stored(ledger: Ledger) -> int:
    with closing(sqlite3.connect(ledger.path)) as db:
        return int(db.execute("SELECT count(*) FROM payloads").fetchone()[0])


VALUES = [
    {"text": "Grüße", "n": [1, 2.5, None, True]},
    [HumanMessage("hi", id="1"), AIMessage("ho", id="2")],
    AIMessage("one", tool_calls=[{"name": "pay", "args": {"amount": 1}, "id": "c"}]),
    {1: "a key that is no text"},
    b"bytes",
    datetime(2026, 1, 2),
    float("inf"),
    2**60,
    {1, 2},
    "",
    None,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_payload_is_read_back_as_it_was(ledger: Ledger, value: Any) -> None:
    ledger.record("s", "x", payloads={"input": value})
    named = bodies(ledger)[0]["input"]

    assert {"sha256", "bytes"} == named.keys()
    found = ledger.payload("s", named["sha256"])
    assert (type(value), value) == (type(found), found)
    assert verify(ledger.path).ok


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(JSON)
def test_whatever_json_can_say_comes_back(value: Any) -> None:
    kept = serialised([value, "x"], Redaction())
    items = {str(n): item for n, item in enumerate(kept.items)}

    def find(digest: str) -> Any:
        return restored(items[digest].kind, items[digest].data, find)

    data = orjson.dumps(list(items)) if kept.kind == "list" else kept.data
    if not any(item.kind == "shown" for item in (kept, *kept.items)):
        assert [value, "x"] == restored(kept.kind, data, find)


def test_what_two_prompts_have_in_common_is_stored_once(ledger: Ledger) -> None:
    history = [HumanMessage(f"message {n}", id=str(n)) for n in range(50)]
    ledger.record("s", "x", payloads={"prompt": history})
    ledger.record("s", "x", payloads={"prompt": [*history, AIMessage("new", id="50")]})
    ledger.flush()

    assert 51 + 2 == stored(ledger)


def test_a_value_of_ones_own_is_stored_as_far_as_it_can_be_shown(ledger: Ledger) -> None:
    class Mine:
        def __repr__(self) -> str:
            return "mine"

    ledger.record("s", "x", payloads={"input": {"value": Mine()}})

    assert "mine" in ledger.payload("s", bodies(ledger)[0]["input"]["sha256"])["value"]


def test_changing_a_value_afterwards_changes_nothing(ledger: Ledger) -> None:
    value = {"n": [1]}
    ledger.record("s", "x", payloads={"input": value})
    value["n"].append(2)

    assert {"n": [1]} == ledger.payload("s", bodies(ledger)[0]["input"]["sha256"])


def test_the_same_value_has_another_digest_in_another_session(ledger: Ledger) -> None:
    """The salt is the session's: a digest cannot be looked up by guessing."""
    for session in ("s", "t"):
        ledger.record(session, "x", payloads={"input": "yes"})

    assert bodies(ledger, "s")[0]["input"]["sha256"] != bodies(ledger, "t")[0]["input"]["sha256"]


@pytest.mark.parametrize(
    "value",
    [
        {"text": "card 1234 5678 1234 5678, thanks"},
        [HumanMessage("card 1234 5678 1234 5678, thanks"), AIMessage([{"type": "text", "text": "1234567812345678"}])],
        ("1234 5678 1234 5678", {"deep": [HumanMessage("1234567812345678")]}),
    ],
    ids=["plain", "messages", "nested"],
)
def test_what_a_rule_finds_is_in_no_file(tmp_path: Path, value: Any) -> None:
    ledger = Ledger(tmp_path / "ledger.db", redact=[CARD])
    ledger.record("s", "x", body={"args": {"card": "1234567812345678"}}, payloads={"input": value})
    named = bodies(ledger)[0]
    found = repr(ledger.payload("s", named["input"]["sha256"]))
    ledger.close()

    assert MARK == named["args"]["card"]
    assert MARK in found and type(value).__name__ in str(type(value))
    raw = b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))
    assert b"1234 5678" not in raw and b"12345678" not in raw


def test_a_rule_makes_no_other_class_of_an_object(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", redact=["langchain_core|HumanMessage"])
    ledger.record("s", "x", payloads={"input": HumanMessage("HumanMessage")})
    found = ledger.payload("s", bodies(ledger)[0]["input"]["sha256"])
    ledger.close()

    assert (HumanMessage, MARK) == (type(found), found.content)


def test_a_rule_that_is_no_expression_is_named() -> None:
    with pytest.raises(PolicyError, match=r"redact: '\(' is no regular expression"):
        Redaction().also(["("])


def test_bytes_that_somebody_put_there_are_not_even_decoded(ledger: Ledger) -> None:
    ledger.record("s", "x", payloads={"input": "yes"})
    digest = bodies(ledger)[0]["input"]["sha256"]
    with closing(sqlite3.connect(ledger.path)) as db, db:
        db.execute("UPDATE payloads SET data = ?, kind = 'msgpack'", (b"\xc7evil",))

    with pytest.raises(LedgerError, match="was changed"):
        ledger.payload("s", digest)
    assert "was changed after it was written" in str(verify(ledger.path).problems[0])


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM payloads", "is gone, and no erasure is on record"),
        ("DELETE FROM salts", "was changed after it was written"),
        ("UPDATE salts SET salt = x'00'", "was changed after it was written"),
        ("INSERT INTO payloads SELECT 'nobody', digest, kind, data, stored FROM payloads", "has payloads and no rows"),
        ("UPDATE payloads SET kind = 'shown'", "was changed after it was written"),
        ("UPDATE payloads SET digest = digest || 'x'", "was changed after it was written"),
    ],
)
def test_tampering_with_payloads_is_found(ledger: Ledger, statement: str, expected: str) -> None:
    ledger.record("s", "x", payloads={"input": [HumanMessage("a"), "b"]})
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as db, db:
        db.execute(statement)

    assert any(expected in str(problem) for problem in verify(ledger.path).problems)
