"""Asks a person, and commits exactly what that person saw.

The question is LangGraph's own interrupt, but it is bound to a stored card instead of a position:
resuming names the card, so an answer can reach neither another question nor other arguments.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from functools import partial
from typing import Any, TypeVar

from langgraph.errors import GraphInterrupt, InvalidUpdateError
from langgraph.types import Interrupt

from governance import canonical
from governance.call import Call, Effect, Flow, NodeCall, Proceed, Run, ToolCall
from governance.contracts import Approval
from governance.errors import ApprovalDenied, ContractViolation, GovernanceError
from governance.filters.authority import check_stops
from governance.filters.cards import changed_rules, note
from governance.filters.contract import grant
from governance.filters.effect import within
from governance.plane.approvals import Card, Principal

T = TypeVar("T")
Asking = Generator[Effect, Any, T]
ESCALATED = Approval("a gate asks for a person's decision")


def standing(call: NodeCall) -> Asking[Card | None]:
    """The question that was asked at this place, unless it is settled or the rules have changed since."""
    book = call.governance.approvals
    card: Card | None = yield Run(lambda: book.at(call.session.id, call.governance.place(call)))
    if card is None or card.state == "committed":
        return None
    if card.contract != call.contract.digest:
        yield from superseded(call, card)
        return None
    return card


def superseded(call: Call, card: Card) -> Asking[None]:
    """The question does not stand any more: the contract, or what is proposed, is another one."""
    old: Card = yield Run(partial(call.governance.approvals.supersede, card))
    note(call, "approval.superseded", old)


def escalated(call: NodeCall, update: Any, reason: str, evidence: Any) -> Asking[Any]:
    """Ask a person about an update, after storing it; the run is interrupted until somebody decides."""
    book = call.governance.approvals
    what = {"node": call.place, "update": update, "reason": reason}
    card = yield Run(
        lambda: book.ask(
            call.session.id,
            call.path,
            "update",
            what,
            payload=update,
            contract=call.contract.digest,
            policy=call.governance.policy.digest,
            proposer=proposer(call),
            rule=call.contract.approval or ESCALATED,
            evidence=evidence,
            place=call.governance.place(call),
        )
    )
    note(call, "approval.asked", card)
    return (yield from decided(call, card))


def decided(call: NodeCall, card: Card) -> Asking[Any]:
    """Exactly what the card showed, or what the person made of it, once it was approved."""
    book = call.governance.approvals
    card = yield from settled(call, card)
    check_stops(call)
    update = card.edited if card.state == "edited" else book.payload(card)
    check_edit(call, update)
    yield Run(lambda: book.commit(card))
    note(call, "approval.committed", card)
    return update


def check_edit(call: NodeCall, update: Any) -> None:
    """Hold what a person made of an update to the same contract."""
    try:
        problem = grant(update, call)
    except InvalidUpdateError as error:
        problem = f"is no update ({error})"
    if problem is not None:
        raise ContractViolation(f"the approved update of {call.place} does not fit: it {problem}")


def proposer(call: Call) -> str:
    return f"agent:{call.contract.role or call.node.place}"


class ToolApproval:
    """At a tool: the exact arguments wait for a person, and only they are executed."""

    def __call__(self, call: ToolCall) -> Flow:
        rule = call.contract.tool(call.name)
        if rule is None or rule.approval is None:
            return (yield Proceed(call))
        book, approval = call.governance.approvals, rule.approval
        effect = call.governance.effect(call)
        what = {"tool": call.name, "args": dict(call.args), "reason": approval.reason}
        where = call.governance.place(call)
        card: Card | None = yield Run(lambda: book.at(call.session.id, where))
        if card is not None and not covers(card, call, canonical.digest(what)):
            # Other arguments than those shown, or other rules: the old answer does not count.
            if card.state != "committed":
                yield from superseded(call, card)
            card = None
        if card is None:
            dry_run = effect.dry_run if effect is not None else None
            shown = (yield Run(lambda: within(call, dry_run, call.args))) if dry_run is not None else None
            evidence = {"dry_run": shown, "undo": bool(effect and effect.undo)}
            # So that the node, when it runs again with the person's answer, asks for what the person saw.
            yield Run(partial(call.governance.effects.answers.lead, call.session.id, f"{call.session.id}/{where}"))
            card = yield Run(
                lambda: book.ask(
                    call.session.id, call.path, "tool", what, payload=None,
                    contract=call.contract.digest, policy=call.governance.policy.digest, proposer=proposer(call),
                    rule=approval, evidence=evidence, place=where,
                )
            )  # fmt: skip
            note(call, "approval.asked", card)
        if card.state != "committed":
            card = yield from settled(call, card)
            if card.state == "edited":
                call.args = edited_args(call, card)
                call.governance.recheck(call)
            check_stops(call)
            yield Run(lambda: book.commit(card))
            note(call, "approval.committed", card)
        elif card.edited is not None:
            call.args = edited_args(call, card)
        return (yield Proceed(call))


def edited_args(call: ToolCall, card: Card) -> dict[str, Any]:
    """What a person made of the arguments; what was not touched stays the very value the caller gave.

    Arguments that a caller injects may be values that nobody can write down: left out, they stay.
    """
    edited, given = dict(card.edited), call.args
    same = {k: given[k] for k in edited.keys() & given.keys() if canonical.text(edited[k]) == canonical.text(given[k])}
    kept = {k: given[k] for k in call.injected & given.keys()}
    return {**kept, **edited, **same}


def covers(card: Card, call: ToolCall, digest: str) -> bool:
    """Whether a card was asked about exactly this call, under the contract in force."""
    return card.contract == call.contract.digest and card.digest == digest


def settled(call: Call, card: Card) -> Asking[Card]:
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
    asked = card.what.get("tool") or card.what.get("node")
    why = card.reason or "no reason given"
    raise ApprovalDenied(f"{asked} was {card.state} by {card.principal}: {why}", card=card.id)


def take(call: Call, card: Card, answer: Any) -> tuple[Card, str]:
    """Record the answer that came with a resume; the second value says why it does not count."""
    try:
        if not isinstance(answer, Mapping) or answer.get("card") != card.id:
            raise ApprovalDenied(f"expected {{'card': {card.id!r}, 'decision': ...}}, got {answer!r:.100}")
        decision = answer.get("decision")
        if decision not in ("approve", "deny", "edit"):
            raise ApprovalDenied(f"decision must be 'approve', 'deny' or 'edit', not {decision!r:.50}")
        by = principal(call, answer)
        if decision == "edit" and isinstance(call, NodeCall):
            check_edit(call, answer.get("edited"))
        return (
            call.governance.approvals.settle(
                card.id, decision, by=by, reason=str(answer.get("reason") or ""), edited=answer.get("edited")
            ),
            "",
        )
    except GovernanceError as error:
        return card, error.reason + changed_rules(call, card)


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
