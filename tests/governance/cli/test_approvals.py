"""`sidecar approvals`: a named person decides once, on exactly what was shown, and it is on record."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from governance import Approval
from governance.plane.approvals import Approvals
from governance.plane.control import Control
from tests.governance.cli.conftest import Project

RULE = Approval("money goes out", by=["alice", "bob"])


def ask(path: Path, *, session: str = "s", rule: Approval = RULE, amount: int = 120) -> str:
    control = Control(path / ".sidecar/control.db")
    args = {"order": "o-1", "amount": amount}
    card = Approvals(control).ask(
        session, "refund", "tool", {"tool": "refund", "args": args, "reason": rule.reason},
        payload=args, contract="c", proposer="agent:support", rule=rule,
    )  # fmt: skip
    control.close()
    return card.id


def recorded(path: Path, session: str = "s") -> list[tuple[str, str, dict[str, Any]]]:
    with sqlite3.connect(path / ".sidecar/ledger.db") as db:
        rows = db.execute("SELECT kind, actor, body FROM events WHERE session=? ORDER BY n", (session,))
        return [(kind, actor, json.loads(body)) for kind, actor, body in rows]


def test_what_waits_is_listed(project: Project) -> None:
    card = ask(project.path)

    assert card[:8] in project.sidecar("approvals", "list").out
    assert [card] == [c["card"] for c in project.sidecar("approvals", "list", "--json").json]


def test_nothing_waits_where_nothing_ever_ran(project: Project) -> None:
    """Looking makes no files."""
    assert [] == project.sidecar("approvals", "list", "--json").json
    assert not (project.path / ".sidecar").exists()


def test_a_card_is_shown_whole_by_the_beginning_of_its_id(project: Project) -> None:
    card = ask(project.path)

    shown = project.sidecar("approvals", "show", card[:6], "--json").json

    assert {"order": "o-1", "amount": 120} == shown["what"]["args"]
    assert ("pending", ["alice", "bob"], None) == (shown["state"], shown["approvers"], shown["decided"])


@pytest.mark.parametrize(("decision", "state"), [("approve", "approved"), ("deny", "denied")])
def test_a_decision_is_made_and_put_on_record(project: Project, decision: str, state: str) -> None:
    card = ask(project.path)

    ended = project.sidecar("approvals", decision, card, "--by", "alice", "--reason", "checked", "--json")
    [(kind, actor, body)] = recorded(project.path)

    assert (0, state, "local:alice") == (ended.code, ended.json["state"], ended.json["decided"]["by"])
    assert ("approval.decided", "local:alice", card, "checked") == (kind, actor, body["card"], body["reason"])


@pytest.mark.parametrize("given", ['{"amount": 50}', "value.json"])
def test_an_edit_changes_what_it_names_and_keeps_the_rest(project: Project, given: str) -> None:
    """The value is JSON, or a file that holds it."""
    project.write("value.json", '{"amount": 50}')
    ask(project.path)

    ended = project.sidecar("approvals", "edit", "--value", given, "--by", "bob", "--json")

    assert {"order": "o-1", "amount": 50} == ended.json["decided"]["edited"]


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["approve", "--by", "agent:support"], 3, "refused (self-approval)"),
        (["approve", "--by", "mallory"], 3, "mallory is not among the approvers"),
        (["approve", "ffff", "--by", "alice"], 2, "found none"),
        (["approve", "--by", " "], 2, "--by needs a name"),
        (["edit", "--value", '{"amuont": 1}', "--by", "alice"], 2, "did you mean 'amount'?"),
        (["edit", "--value", "[1]", "--by", "alice"], 2, "expected --value as an object"),
        (["edit", "--value", "{1", "--by", "alice"], 2, "neither JSON"),
        (["approve", "--by", "alice", "--control", "elsewhere.db"], 2, "no control file at elsewhere.db"),
    ],
)
def test_what_may_not_be_is_one_line_and_the_card_still_waits(
    project: Project, args: list[str], code: int, expected: str
) -> None:
    card = ask(project.path)

    ended = project.sidecar("approvals", *args)

    assert (code, True) == (ended.code, expected in ended.line)
    assert "pending" == project.sidecar("approvals", "show", card, "--json").json["state"]


def test_a_refused_attempt_is_on_record_too(project: Project) -> None:
    ask(project.path)
    project.sidecar("approvals", "approve", "--by", "mallory")

    [(kind, actor, body)] = recorded(project.path)

    assert ("approval.refused", "local:mallory", "approver") == (kind, actor, body["code"])


def test_a_card_is_decided_once(project: Project) -> None:
    card = ask(project.path)
    project.sidecar("approvals", "deny", card, "--by", "alice")

    again = project.sidecar("approvals", "approve", card, "--by", "bob")

    assert (3, True) == (again.code, "is denied already" in again.line)


def test_a_decision_after_the_expiry_does_not_count(project: Project) -> None:
    card = ask(project.path, rule=Approval("quick", expires=1e-6))

    late = project.sidecar("approvals", "approve", card, "--by", "alice")

    assert (3, True) == (late.code, "expired" in late.line)


def test_without_an_id_only_one_may_wait(project: Project) -> None:
    first, second = ask(project.path), ask(project.path, session="other")

    ended = project.sidecar("approvals", "approve", "--by", "alice")

    assert (2, True, True) == (ended.code, first[:8] in ended.line, second[:8] in ended.line)
