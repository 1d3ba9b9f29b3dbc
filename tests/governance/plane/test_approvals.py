"""Questions to people: every state a card can be in, who may decide, once and in time, on exactly what was shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from governance import Approval
from governance.errors import ApprovalDenied, AuthorityRefused, ConfigurationError
from governance.plane.approvals import Approvals, Card, Principal
from governance.plane.control import Control

ANN, BOB = Principal("ann", "code"), Principal("bob", "local")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Approvals]:
    control = Control(tmp_path / "control.db")
    yield Approvals(control)
    control.close()


def ask(
    book: Approvals, payload: Any = "p", rule: Approval | None = None, session: str = "s", path: str = "n#1"
) -> Card:
    return book.ask(
        session, path, "update", {"node": "n", "update": payload}, payload=payload, contract="c",
        proposer="agent:n", rule=rule or Approval(), evidence={"why": 1},
    )  # fmt: skip


def test_a_card_says_what_it_is_about_and_how_to_answer(book: Approvals) -> None:
    card = ask(book)
    shown = card.shown()

    assert (card.id, "agent:n", {"node": "n", "update": "p"}) == (shown["card"], shown["proposer"], shown["what"])
    assert {"card", "decision", "by", "reason"} == set(shown["answer"])
    assert card == book.get(card.id) == book.get(card.id[:8])


@pytest.mark.parametrize(("decision", "state"), [("approve", "approved"), ("deny", "denied"), ("edit", "edited")])
def test_a_decision_is_stored_with_who_made_it_and_why(decision: Any, state: str, book: Approvals) -> None:
    card = book.decide(ask(book).id, decision, by=BOB, reason="because", edited={"a": 1})

    assert (state, "local:bob", "because") == (card.state, card.principal, card.reason)
    assert card.decided is not None
    assert card == book.at("s", "n#1")


@pytest.mark.parametrize("second", ["approve", "deny", "edit"])
def test_a_decision_is_made_once(second: Any, book: Approvals) -> None:
    card = book.decide(ask(book).id, "approve", by=ANN)

    with pytest.raises(ApprovalDenied, match="is approved already"):
        book.decide(card.id, second, by=BOB, edited=1)
    assert "approved" == book.get(card.id).state


def test_of_two_who_decide_at_once_one_does(book: Approvals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw it open; whoever is second is told, and changes nothing."""
    card = ask(book)
    late = Approvals(Control(book.control.path))
    read = late.get
    stale = iter([card])
    monkeypatch.setattr(late, "get", lambda card_id: next(stale, None) or read(card_id))
    book.decide(card.id, "approve", by=ANN)

    with pytest.raises(ApprovalDenied, match="is approved already"):
        late.decide(card.id, "deny", by=BOB)
    assert ("approved", "code:ann") == (book.get(card.id).state, book.get(card.id).principal)
    late.control.close()


def test_the_proposer_cannot_approve_what_it_proposed(book: Approvals) -> None:
    with pytest.raises(AuthorityRefused, match="agent:n proposed this and cannot approve it too"):
        book.decide(ask(book).id, "approve", by=Principal("agent:n", "code"))


def test_only_the_approvers_named_may_decide(book: Approvals) -> None:
    card = ask(book, rule=Approval(by=["ann"]))

    with pytest.raises(AuthorityRefused, match="bob is not among the approvers: ann"):
        book.decide(card.id, "approve", by=BOB)
    assert "approved" == book.decide(card.id, "approve", by=ANN).state


def test_an_edit_needs_what_it_changes_to(book: Approvals) -> None:
    with pytest.raises(ConfigurationError, match="an edit needs the edited value"):
        book.decide(ask(book).id, "edit", by=ANN)


def test_no_answer_in_time_is_a_no(book: Approvals) -> None:
    card = book.decide(ask(book, rule=Approval(expires=1e-6)).id, "approve", by=ANN)

    assert ("expired", "nobody answered in time") == (card.state, card.reason)


def test_a_newer_question_at_the_same_place_replaces_the_open_one(book: Approvals) -> None:
    old, new = ask(book), ask(book, "other")

    assert "superseded" == book.get(old.id).state
    assert new == book.at("s", "n#1")
    with pytest.raises(ApprovalDenied, match="is superseded already"):
        book.decide(old.id, "approve", by=ANN)


def test_a_superseded_card_does_not_count_at_its_place(book: Approvals) -> None:
    book.supersede(ask(book))

    assert book.at("s", "n#1") is None


def test_an_approved_card_can_be_superseded_when_the_rules_change(book: Approvals) -> None:
    card = book.decide(ask(book).id, "approve", by=ANN)
    book.supersede(card)

    assert "superseded" == book.get(card.id).state


@pytest.mark.parametrize("decision", ["approve", "edit"])
def test_what_was_approved_is_committed_once_and_for_all(decision: Any, book: Approvals) -> None:
    card = book.decide(ask(book).id, decision, by=ANN, edited=1)
    book.commit(card)

    assert "committed" == book.get(card.id).state
    with pytest.raises(ApprovalDenied, match="is committed already"):
        book.decide(card.id, "deny", by=BOB)


def test_what_was_denied_cannot_be_committed(book: Approvals) -> None:
    card = book.decide(ask(book).id, "deny", by=ANN)
    try:
        book.commit(card)
    except ApprovalDenied:
        pass

    assert "denied" == book.get(card.id).state


@pytest.mark.parametrize("payload", ["text", None, {"a": [1]}, [AIMessage("hi", id="m")]])
def test_what_is_committed_is_the_value_that_was_proposed(payload: Any, book: Approvals) -> None:
    assert payload == book.payload(book.get(ask(book, payload).id))


def test_cards_are_found_by_session_and_state_the_oldest_first(book: Approvals) -> None:
    a, b, c = ask(book, path="1"), ask(book, path="2"), ask(book, session="t")
    book.decide(b.id, "deny", by=ANN)

    assert [a.id, c.id] == [card.id for card in book.cards()]
    assert [a.id] == [card.id for card in book.cards(session="s")]
    assert [b.id] == [card.id for card in book.cards(states=["denied"])]


@pytest.mark.parametrize("wrong", ["", "zz", "0' OR 1=1 --"])
def test_an_id_that_names_no_single_card_is_refused(wrong: str, book: Approvals) -> None:
    ask(book, path="1"), ask(book, path="2")

    with pytest.raises(ConfigurationError, match=r"expected one approval with id .* see `sidecar approvals list`"):
        book.get(wrong)


def test_the_snapshot_knows_which_sessions_wait(book: Approvals) -> None:
    card = ask(book)
    assert (card.id,) == book.control.pending("s")
    book.decide(card.id, "approve", by=ANN)
    assert ((), True) == (book.control.pending("s"), book.control.has_cards("s"))
    book.commit(book.get(card.id))

    assert not book.control.has_cards("s")


def test_another_process_finds_the_question_when_it_starts(book: Approvals) -> None:
    card = ask(book)
    later = Control(book.control.path)
    later.refresh()

    assert (card.id,) == later.pending("s")
    later.close()
