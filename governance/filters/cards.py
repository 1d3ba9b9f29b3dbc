"""What a card says on record, and what becomes of one that was asked under other rules than those in force."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from governance.call import Call, Effect, Flow, NodeCall, Proceed, Run
from governance.errors import Refusal

if TYPE_CHECKING:
    from governance.plane.approvals import Card

UNSETTLED = ("pending", "approved", "edited")


def note(call: Call, kind: str, card: Card, refused: str = "") -> None:
    """Put on record what happened to a card, and the rules where they are not those it was asked under."""
    body: dict[str, Any] = {
        "card": card.id, "what": card.what, "digest": card.digest, "reason": refused or card.reason,
    }  # fmt: skip
    if card.edited is not None:
        body["edited"] = card.edited
    if changed_rules(call, card):
        body["asked_under"] = {"contract": card.contract, "policy": card.policy}
        body["in_force"] = {"contract": call.contract.digest, "policy": call.governance.policy.digest}
    actor = card.principal or card.proposer
    call.governance.ledger.record(call.session.id, kind, path=call.path, actor=actor, body=body)


def changed_rules(call: Call, card: Card) -> str:
    """What to add to a reason where the rules changed since the question was asked; else nothing."""
    contract, policy = call.contract.digest, call.governance.policy.digest
    if (card.contract, card.policy) == (contract, policy):
        return ""
    return (
        f"; it was asked under the contract {card.contract} and the policy {card.policy}, "
        f"in force are the contract {contract} and the policy {policy}"
    )


def parked(call: NodeCall) -> Flow | None:
    """At a node whose update a person may have been asked about: a refusal says that the rules changed."""
    return _told(call) if call.governance.control.has_cards(call.session.id) else None


def _told(call: NodeCall) -> Flow:
    try:
        return (yield Proceed(call))
    except Refusal as refusal:
        yield from overruled(call, refusal)
        raise


def overruled(call: Call, refusal: Refusal) -> Generator[Effect, Any, None]:
    """Say of a refused call that a person was asked about it under other rules; the question stands."""
    if not call.governance.control.has_cards(call.session.id):
        return
    book, where = call.governance.approvals, call.governance.place(call)
    card: Card | None = yield Run(lambda: book.at(call.session.id, where))
    if card is None or card.state not in UNSETTLED:
        return
    words = changed_rules(call, card)
    if words and not refusal.reason.endswith(words):
        refusal.args = (refusal.reason + words,)
        note(call, "approval.overruled", card, refusal.reason)
