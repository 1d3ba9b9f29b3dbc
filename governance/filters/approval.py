"""Asks a person, and commits exactly what that person saw.

The question is LangGraph's own interrupt, but it is bound to a stored card instead of a position:
resuming names the card, so an answer can reach neither another question nor other arguments.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from governance import canonical
from governance.call import Call, Effect, Flow, NodeCall, Proceed, Run, ToolCall
from governance.contracts import Approval
from governance.errors import ApprovalDenied, Escalate, GovernanceError
from governance.filters.authority import check_stops
from governance.plane.approvals import Card, Principal
from collections.abc import Generator

ESCALATED = Approval("a gate asks for a person's decision")


class UpdateApproval:
    """At a node: what gates escalate, and what the contract wants approved, waits for a person."""

    def __call__(self, call: NodeCall) -> Flow:
        book = call.governance.approvals
        card: Card | None = None
        if book.control.has_cards(call.session.id):
            card = yield Run(lambda: book.at(call.session.id, call.path))
        if card is not None and card.contract != call.contract.digest and card.state != "committed":
            yield Run(lambda c=card: book.supersede(c))  # the rules changed while it waited: ask anew
            card = None
        if card is None or card.state == "committed":
            update, reason, evidence = yield from self._propose(call)
            if reason is None:
                return update
            rule = call.contract.approval or ESCALATED
            what = {"node": call.place, "update": update, "reason": reason}
            card = yield Run(
                lambda: book.ask(
                    call.session.id, call.path, "update", what, payload=update, contract=call.contract.digest,
                    proposer=f"agent:{call.contract.role or call.place}", rule=rule, evidence=evidence,
                )
            )  # fmt: skip
            note(call, "approval.asked", card)
        card = yield from settled(call, card)
        check_stops(call)
        yield Run(lambda: book.commit(card))
        note(call, "approval.committed", card)
        return card.edited if card.state == "edited" else book.payload(card)

    def _propose(self, call: NodeCall) -> Generator[Effect, Any, tuple[Any, str | None, Any]]:
        try:
            update = yield Proceed(call)
        except Escalate as asked:
            return asked.update, asked.reason, asked.facts.get("evidence")
        rule = call.contract.approval
        return update, (rule.reason if rule else None), None


class ToolApproval:
    """At a tool: the exact arguments wait for a person, and only they are executed."""

    def __call__(self, call: ToolCall) -> Flow:
        rule = call.contract.tool(call.name)
        if rule is None or rule.approval is None:
            return (yield Proceed(call))
        book, approval = call.governance.approvals, rule.approval
        effect = call.governance.effect(call)
        what = {"tool": call.name, "args": dict(call.args), "reason": approval.reason}
        card: Card | None = yield Run(lambda: book.at(call.session.id, call.path))
        if card is not None and not covers(card, call, canonical.digest(what)):
            # Other arguments than those shown, or other rules: the old answer does not count.
            if card.state != "committed":
                yield Run(lambda c=card: book.supersede(c))
            card = None
        if card is None:
            shown: Any = effect.dry_run(call.args) if effect is not None and effect.dry_run else None
            evidence = {"dry_run": shown, "undo": bool(effect and effect.undo)}
            card = yield Run(
                lambda: book.ask(
                    call.session.id, call.path, "tool", what, payload=dict(call.args),
                    contract=call.contract.digest, proposer=f"agent:{call.contract.role or call.node.place}",
                    rule=approval, evidence=evidence,
                )
            )  # fmt: skip
            note(call, "approval.asked", card)
        if card.state != "committed":
            card = yield from settled(call, card)
            if card.state == "edited":
                call.args = dict(card.edited)
                call.governance.recheck(call)
            check_stops(call)
            yield Run(lambda: book.commit(card))
            note(call, "approval.committed", card)
        elif card.edited is not None:
            call.args = dict(card.edited)
        return (yield Proceed(call))


def covers(card: Card, call: ToolCall, digest: str) -> bool:
    """Whether a card was asked about exactly this call, under the contract in force."""
    return card.contract == call.contract.digest and card.digest == digest


def settled(call: Call, card: Card) -> Generator[Effect, Any, Card]:
    """The card once somebody decided it; interrupts the run until then."""
    book = call.governance.approvals
    if card.state == "pending" and time.time() >= card.expires:
        card = yield Run(lambda: book.expire(card))
        note(call, "approval.expired", card)
    answer = call.governance.resume_answer(call, card.id)
    if card.state == "pending" and answer is not None:
        card, refused = yield Run(lambda: take(call, card, answer))
        note(call, "approval.refused" if refused else f"approval.{card.state}", card, refused)
        if refused:
            raise GraphInterrupt((Interrupt(value={**card.shown(), "error": refused}, id=card.id),))
    if card.state == "pending":
        raise GraphInterrupt((Interrupt(value=card.shown(), id=card.id),))
    if card.state in ("approved", "edited"):
        return card
    raise ApprovalDenied(
        f"{card.what.get('tool') or card.what.get('node')} was {card.state} by {card.principal}: {card.reason or 'no reason given'}",
        card=card.id,
    )


def take(call: Call, card: Card, answer: Any) -> tuple[Card, str]:
    """Record the answer that came with a resume; the second value says why it does not count."""
    try:
        if not isinstance(answer, Mapping) or answer.get("card") != card.id:
            raise ApprovalDenied(f"expected {{'card': {card.id!r}, 'decision': ...}}, got {answer!r:.100}")
        decision = answer.get("decision")
        if decision not in ("approve", "deny", "edit"):
            raise ApprovalDenied(f"decision must be 'approve', 'deny' or 'edit', not {decision!r:.50}")
        by = principal(call, answer)
        return (
            call.governance.approvals.decide(
                card.id, decision, by=by, reason=str(answer.get("reason") or ""), edited=answer.get("edited")
            ),
            "",
        )
    except GovernanceError as error:
        return card, error.reason


def principal(call: Call, answer: Mapping[str, Any]) -> Principal:
    """Who answers: the user the server authenticated, or a local operator the policy names."""
    served = call.governance.server_user(call)
    if served is not None:
        return Principal(served, "server")
    name = answer.get("by")
    if isinstance(name, str) and name in call.governance.policy.approvals.local_operators:
        return Principal(name, "local")
    raise ApprovalDenied(
        "nobody vouches for this answer: decide with `sidecar approvals approve`, let the server authenticate, "
        "or name the operator in [approvals] local_operators",
        code="principal",
    )


def note(call: Call, kind: str, card: Card, refused: str = "") -> None:
    call.governance.ledger.record(
        call.session.id,
        kind,
        path=call.path,
        actor=card.principal or card.proposer,
        body={"card": card.id, "what": card.what, "digest": card.digest, "reason": refused or card.reason},
    )
