"""Why something happened, in words; a session as a file; and content that goes while the record stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from governance.plane.answers import Answers, Said
from governance.plane.control import Control
from governance.plane.ledger import Ledger
from governance.plane.verify import verify
from tests.governance.cli.conftest import Project

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)> \u202egnp.exe \ud800 \x1b[31m"


@pytest.fixture
def ledger(project: Project) -> Ledger:
    """A refund that a gate held back, a person approved and a tool made; a second session that did nothing."""
    written = Ledger("l.db", redact=[r"\d{16}"])
    card = {"card": "3f2a77", "what": {"tool": "refund", "args": {"order_id": "4711"}}, "reason": "above 100"}
    node, call = "refunds#2", "refunds#2>refund.0"
    rules = {"contract": "c0ffee", "policy": "p011c4"}
    written.record("42", "session.person", digests={"person": "ann"})
    written.record("42", "node.begun", path=node, actor="refunds", body={"attempt": 1, "contract": "c0ffee"})
    written.record(
        "42", "model.ended", path=f"{node}>model.0", actor="gpt", body={"us": 900, **rules}, tokens=30,
        payloads={"prompt": [HumanMessage("I want my money back")], "answer": [AIMessage("I shall refund 4711")]},
    )  # fmt: skip
    left = [{"of": "session", "left": 70, "total": 100}, {"of": "refunds", "left": 9, "total": 40}]
    written.record(
        "42", "budget.settled", path=f"{node}>model.0", actor="gpt", body={"left": left, "reserved": 90, "used": 30}
    )
    written.record("42", "gate.escalate", path=node, actor="grounded", body={"reason": "no receipt", "evidence": [7]})
    written.record("42", "approval.asked", path=call, actor="refunds", body=card)
    written.record(
        "42", "approval.decided", actor="local:bob", body={**card, "state": "approved", "reason": "I saw it"}
    )
    written.record(
        "42", "effect.intent", path=call, actor="refund", body={"args": {"order_id": "4711"}, "business": "r-4711"}
    )
    written.record("42", "effect.finished", path=call, actor="refund", body={})
    written.record("42", "tool.ended", path=call, actor="refund", body={"args": {"order_id": "4711"}, "us": 5, **rules})
    written.record(
        "42", "node.ended", path=node, actor="refunds", body={"us": 9000, "wrote": ["out"], "to": ["report"]}
    )
    written.record("42", "route.taken", path=node, actor="refunds", body={"to": ["report"], "sent": {"letter": 2}})
    written.record("43", "node.begun", path="n#1", actor=EVIL, body={"contract": EVIL}, payloads={"input": EVIL})
    written.flush()
    written.close()
    return written


WHY = [
    "Node refunds began, under the contract c0ffee.",
    "The model gpt was asked (policy p011c4): 30 tokens, 0.9 ms. Its prompt was",
    "I want my money back",
    "For asking gpt, 90 tokens were set aside and 30 were used; session has 70 of 100 left, refunds has 9 of 40 left.",
    "The gate grounded asked for a person, because: no receipt. Evidence: [7].",
    "refunds asked for an approval (3f2a77) of",
    "local:bob: approved (3f2a77), at",
    "because: I saw it",
    'The effect refund was about to happen with {"order_id":"4711"}, known as r-4711; on disk before it did.',
    "The effect refund happened.",
    "under the contract c0ffee and the policy p011c4",
    "Node refunds ended after 9.0 ms and wrote out. It handed over to report.",
    "After refunds, the conditional edge went on to report and sent 2 messages to letter.",
]


@pytest.mark.parametrize(
    "asked",
    [["42"], ["42", "refunds"], ["42", "refunds#2"], ["42", "10"], ["--effect", "refund", "--arg", "order_id=4711"]],
    ids=" ".join,
)
def test_why_is_told_however_it_is_asked(project: Project, ledger: Ledger, asked: list[str]) -> None:
    ended = project.sidecar("ledger", "explain", *asked, "--ledger", "l.db")

    assert (0, []) == (ended.code, [words for words in WHY if words not in ended.out])


def test_other_arguments_are_another_effect(project: Project, ledger: Ledger) -> None:
    asked = ("ledger", "explain", "--effect", "refund", "--arg", "order_id=1", "--ledger", "l.db")

    assert (2, True) == ((ended := project.sidecar(*asked)).code, "no call of refund order_id=1" in ended.line)


def test_json_says_the_same_with_the_rows_it_stands_on(project: Project, ledger: Ledger) -> None:
    (found,) = project.sidecar("ledger", "explain", "42", "--json", "--ledger", "l.db").json

    assert ("42", "refunds", "refunds#2") == (found["session"], found["node"], found["path"])
    assert list(range(2, 13)) == [fact["n"] for fact in found["facts"]]


def test_an_export_has_a_line_for_each_event_with_what_was_kept(project: Project, ledger: Ledger) -> None:
    lines = project.sidecar("ledger", "export", "42", "--ledger", "l.db").out.splitlines()
    rows: list[Any] = list(map(json.loads, lines))

    assert list(range(1, 13)) == [row["n"] for row in rows]
    assert {"human": "I want my money back"} == rows[2]["payloads"]["prompt"][0]


def test_a_page_is_whole_and_loads_nothing(project: Project, ledger: Ledger) -> None:
    ended = project.sidecar("ledger", "export", "42", "--format", "html", "--to", "out/42.html", "--ledger", "l.db")
    page = Path("out/42.html").read_text(encoding="utf-8")

    assert (0, "") == (ended.code, ended.out)
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert all(words not in page for words in ("<script", "http://", "https://", "src="))
    assert all(words.replace('"', "&quot;") in page for words in WHY)


def test_nothing_on_record_becomes_markup_or_turns_the_text_around(project: Project, ledger: Ledger) -> None:
    page = project.sidecar("ledger", "export", "43", "--format", "html", "--ledger", "l.db").out

    assert "&lt;script&gt;" in page
    assert all(mark not in page for mark in ("<script", "<img", "\u202e", "\x1b"))


def test_a_file_that_cannot_be_written_is_named(project: Project, ledger: Ledger) -> None:
    ended = project.sidecar("ledger", "export", "42", "--to", "in.json/x", "--ledger", "l.db")

    assert (2, True) == (ended.code, "in.json/x cannot be written" in ended.line)


def test_what_was_erased_is_not_told_any_more(project: Project, ledger: Ledger) -> None:
    erased = project.sidecar(
        "ledger", "erase", "--person", "ann", "--by", "eve", "--reason", "asked", "--ledger", "l.db"
    )
    told = project.sidecar("ledger", "explain", "42", "--ledger", "l.db").out

    assert (0, "erased 4 payloads of 1 sessions\n") == (erased.code, erased.out)
    assert "Its prompt is not kept any more." in told
    assert "money" not in told
    assert verify("l.db").ok
    assert 2 == project.sidecar("ledger", "erase", "--person", "ann", "--ledger", "l.db").code


def test_what_was_erased_is_in_the_control_file_no_longer(project: Project, ledger: Ledger) -> None:
    control = Control("control.db")
    Answers(control).keep(Said("42/n#1>model", "42", "q", {"form": "one", "said": "money back"}))
    control.close()
    project.sidecar("ledger", "erase", "42", "--reason", "asked", "--ledger", "l.db")

    assert [] == [file.name for file in project.path.glob("control.db*") if b"money back" in file.read_bytes()]


def test_pruning_says_how_much(project: Project, ledger: Ledger) -> None:
    assert {"payloads": 0} | {"bytes": 0, "rows": 0, "sessions": []} == project.sidecar(
        "ledger", "prune", "--older", "90d", "--json", "--ledger", "l.db"
    ).json
    assert "pruned 5 payloads" in project.sidecar("ledger", "prune", "--older", "0s", "--ledger", "l.db").out
    assert verify("l.db").ok


def test_an_archive_is_made_and_verified_with_its_ledger(project: Project, ledger: Ledger) -> None:
    made = project.sidecar("ledger", "archive", "--older", "0s", "--to", "old.db", "--ledger", "l.db")
    alone = project.sidecar("ledger", "verify", "--ledger", "l.db")
    together = project.sidecar("ledger", "verify", "--archive", "old.db", "--ledger", "l.db")

    assert "archived 13 events of 2 sessions in old.db\n" == made.out
    unseen = "; NOT looked at: 13 events of 2 archived sessions; give their --archive FILE (old.db)\n"
    assert (0, True) == (alone.code, alone.out.endswith(unseen))
    assert (0, "", False) == (together.code, together.err, "NOT" in together.out)


def test_json_says_what_was_not_looked_at(project: Project, ledger: Ledger) -> None:
    project.sidecar("ledger", "archive", "--older", "0s", "--to", "old.db", "--ledger", "l.db")
    check = ("ledger", "verify", "--ledger", "l.db", "--json")
    alone = project.sidecar(*check).json
    together = project.sidecar(*check, "--archive", "old.db").json

    assert {"sessions": ["42", "43"], "events": 13, "archives": ["old.db"]} == alone["unseen"]
    assert ([], 0) == (together["unseen"]["sessions"], together["unseen"]["events"])


def test_an_archive_in_the_place_of_a_ledger_passes_only_where_it_is_called_one(
    project: Project, ledger: Ledger
) -> None:
    project.sidecar("ledger", "archive", "--older", "0s", "--to", "old.db", "--ledger", "l.db")
    ended = project.sidecar("ledger", "verify", "--ledger", "old.db")
    called = project.sidecar("ledger", "verify", "--ledger", "old.db", "--is-archive")

    told = project.sidecar("ledger", "verify", "--ledger", "old.db", "--json")
    ledgers = project.sidecar("ledger", "verify", "--ledger", "l.db", "--is-archive")

    assert (5, True) == (ended.code, "it calls itself an archive" in ended.err)
    assert (5, False, True) == (told.code, told.json["ok"], told.json["is_archive"])
    assert (2, True) == (ledgers.code, "does not call itself an archive" in ledgers.line)
    assert (0, "old.db: an archive, whole; 13 events in 2 sessions\n") == (called.code, called.out)


def test_a_key_is_taken_from_the_environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_LEDGER_KEY", "a key of at least 16 bytes")
    sealed = Ledger("k.db", key=b"a key of at least 16 bytes")
    sealed.record("s", "x")
    sealed.close()

    assert 0 == project.sidecar("ledger", "verify", "--ledger", "k.db").code
    monkeypatch.delenv("SIDECAR_LEDGER_KEY")
    assert "is sealed with a key; give it by" in project.sidecar("ledger", "verify", "--ledger", "k.db").line


def test_a_sealed_ledger_takes_what_operators_do(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command opens it as the policy here describes it."""
    project.write("key", "a key of at least 16 bytes")
    project.write("sidecar.toml", '[ledger]\npath = "k.db"\nkey_file = "key"\n')
    ended = project.sidecar("stop", "all", "--reason", "incident")

    assert (0, "") == (ended.code, ended.err)
    assert 0 == project.sidecar("ledger", "verify").code
    assert verify("k.db", key=b"a key of at least 16 bytes").events == 1
