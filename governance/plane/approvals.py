"""Questions to people: what is to be committed is stored before it is asked, and that is committed.

A card is bound to a place in a session and to the digest of what was proposed. Its decision carries a
principal who is not the proposer. The graph is resumed with the card's id, never with a bare yes.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance import canonical
from governance.contracts import Approval
from governance.errors import ApprovalDenied, AuthorityRefused, ConfigurationError
from governance.operators import refuse_inside
from governance.plane.control import Control

State = Literal["pending", "approved", "edited", "denied", "expired", "superseded", "committed"]
Decision = Literal["approve", "deny", "edit"]
DECIDED: dict[Decision, State] = {"approve": "approved", "deny": "denied", "edit": "edited"}
FIELDS = (
    "id, session, path, kind, what, evidence, payload_type, payload, digest, contract, proposer, approvers, "
    "asked, expires, state, principal, reason, edited, decided, place, policy"
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who decides; `how` says what vouches for the name (`server`, `local`, `code`)."""

    name: str
    how: Literal["server", "local", "code"]


@dataclass(frozen=True, slots=True)
class Card:
    """One question: the exact thing, why it is asked, who asks, until when, and what was decided."""

    id: str
    session: str
    path: str
    kind: Literal["update", "tool"]
    what: Mapping[str, Any]
    evidence: Any
    payload_type: str
    payload: bytes
    digest: str
    contract: str
    proposer: str
    approvers: tuple[str, ...]
    asked: float
    expires: float
    state: State
    principal: str = ""
    reason: str = ""
    edited: Any = None
    decided: float | None = None
    place: str = ""
    policy: str = ""

    @property
    def open(self) -> bool:
        return self.state == "pending"

    def shown(self) -> dict[str, Any]:
        """What a person sees, and what the interrupt carries."""
        return {
            "card": self.id,
            "session": self.session,
            "path": self.path,
            "proposer": self.proposer,
            "what": dict(self.what),
            "evidence": self.evidence,
            "digest": self.digest[:16],
            "expires": self.expires,
            "answer": {
                "card": self.id,
                "decision": "approve | deny | edit",
                "by": "your name",
                "reason": "...",
            },
        }


class Approvals:
    """The cards of one control file."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self._serde = JsonPlusSerializer()

    def ask(
        self,
        session: str,
        path: str,
        kind: Literal["update", "tool"],
        what: Mapping[str, Any],
        *,
        payload: Any,
        contract: str,
        policy: str = "",
        proposer: str,
        rule: Approval,
        evidence: Any = None,
        place: str | None = None,
    ) -> Card:
        """Store a question durably; asking again at the same place replaces an open one.

        `place` is the path where it is not enough, as two graphs may have equal ones.
        """
        kind_of, blob = self._serde.dumps_typed(payload)
        now = time.time()
        card = Card(
            id=uuid.uuid4().hex,
            session=session,
            path=path,
            kind=kind,
            what=json.loads(canonical.text(what)),
            evidence=json.loads(canonical.text(evidence)),
            payload_type=kind_of,
            payload=blob,
            digest=canonical.digest(what),
            contract=contract,
            policy=policy,
            proposer=proposer,
            approvers=tuple(sorted(rule.by or ())),
            asked=now,
            expires=now + rule.expires,
            state="pending",
            place=path if place is None else place,
        )
        with self.control.transaction() as db:
            db.execute(
                "UPDATE cards SET state='superseded' WHERE session=? AND place=? AND state='pending'",
                (session, card.place),
            )
            db.execute(f"INSERT INTO cards({FIELDS}) VALUES({','.join('?' * 21)})", _row(card))
        self.control.note_card(session, card.id, "pending")
        return card

    def at(self, session: str, place: str) -> Card | None:
        """The card that counts at this place: the newest that was not superseded."""
        with self.control.transaction() as db:
            row = db.execute(
                f"SELECT {FIELDS} FROM cards WHERE session=? AND place=? AND state!='superseded' "
                "ORDER BY asked DESC LIMIT 1",
                (session, place),
            ).fetchone()
        return _card(row) if row else None

    def get(self, card_id: str) -> Card:
        """One card by its id or a unique beginning of it."""
        with self.control.transaction() as db:
            rows = db.execute(
                f"SELECT {FIELDS} FROM cards WHERE id >= ? AND id < ?", (card_id, card_id + "g")
            ).fetchall()
        if len(rows) != 1:
            found = "none" if not rows else f"{len(rows)} of them"
            raise ConfigurationError(
                f"expected one approval with id {card_id!r}, found {found}; see `sidecar approvals list`"
            )
        return _card(rows[0])

    def exists(self, card_id: str) -> bool:
        """Whether this is the id of a question that may still matter, as far as this process knows."""
        return self.control.knows_card(card_id)

    def cards(self, *, session: str | None = None, states: Iterable[str] = ("pending",)) -> list[Card]:
        """Cards in these states, the oldest first."""
        wanted = list(states)
        query = f"SELECT {FIELDS} FROM cards WHERE state IN ({','.join('?' * len(wanted))})"
        with self.control.transaction() as db:
            if session is not None:
                rows = db.execute(query + " AND session=? ORDER BY asked", (*wanted, session)).fetchall()
            else:
                rows = db.execute(query + " ORDER BY asked", wanted).fetchall()
        return [_card(row) for row in rows]

    def decide(
        self,
        card_id: str,
        decision: Decision,
        *,
        by: Principal,
        reason: str = "",
        edited: Any = None,
    ) -> Card:
        """Record a decision once; raises where it is late, repeated, or by somebody who may not.

        Code of a node decides nothing: inside a governed call this raises `AuthorityRefused`.
        """
        refuse_inside("decide about an approval")
        return self.settle(card_id, decision, by=by, reason=reason, edited=edited)

    def settle(
        self,
        card_id: str,
        decision: Decision,
        *,
        by: Principal,
        reason: str = "",
        edited: Any = None,
    ) -> Card:
        """`decide` for an answer that came in with a resume, which the approval filter takes inside the call."""
        card = self.get(card_id)
        if not card.open:
            raise ApprovalDenied(f"approval {card.id[:8]} is {card.state} already", code="decided")
        if time.time() >= card.expires:
            return self._settle(card, "expired", by=by, reason="nobody answered in time")
        if by.name == card.proposer:
            raise AuthorityRefused(f"{by.name} proposed this and cannot approve it too", code="self-approval")
        if card.approvers and by.name not in card.approvers:
            raise AuthorityRefused(
                f"{by.name} is not among the approvers: {', '.join(card.approvers)}", code="approver"
            )
        if decision == "edit" and edited is None:
            raise ConfigurationError("an edit needs the edited value")
        return self._settle(card, DECIDED[decision], by=by, reason=reason, edited=edited)

    def expire(self, card: Card) -> Card:
        return self._settle(card, "expired", by=Principal("clock", "code"), reason="nobody answered in time")

    def supersede(self, card: Card) -> Card:
        return self._settle(
            card, "superseded", by=Principal("policy", "code"), reason="contract or proposal changed", late=True
        )

    def commit(self, card: Card) -> Card:
        """Mark that what was approved has been committed."""
        with self.control.transaction() as db:
            db.execute("UPDATE cards SET state='committed' WHERE id=? AND state IN ('approved','edited')", (card.id,))
        self.control.note_card(card.session, card.id, "committed")
        return card

    def payload(self, card: Card) -> Any:
        """What was proposed, as the value it was."""
        return self._serde.loads_typed((card.payload_type, card.payload))

    def _settle(
        self, card: Card, state: State, *, by: Principal, reason: str, edited: Any = None, late: bool = False
    ) -> Card:
        # Whoever decides second, on a card that looked open to both, must not undo the first decision.
        before = "('pending','approved','edited')" if late else "('pending')"
        with self.control.transaction() as db:
            changed = db.execute(
                "UPDATE cards SET state=?, principal=?, reason=?, edited=?, decided=? "
                f"WHERE id=? AND state IN {before}",
                (
                    state,
                    f"{by.how}:{by.name}",
                    reason,
                    None if edited is None else canonical.text(edited),
                    time.time(),
                    card.id,
                ),
            ).rowcount
        settled = self.get(card.id)
        self.control.note_card(card.session, card.id, settled.state)
        if not changed:
            raise ApprovalDenied(f"approval {card.id[:8]} is {settled.state} already", code="decided")
        return settled


def _row(card: Card) -> tuple[Any, ...]:
    return (
        card.id, card.session, card.path, card.kind, canonical.text(card.what), canonical.text(card.evidence),
        card.payload_type, card.payload, card.digest, card.contract, card.proposer, json.dumps(card.approvers),
        card.asked, card.expires, card.state, card.principal, card.reason,
        None if card.edited is None else canonical.text(card.edited), card.decided, card.place,
        card.policy,
    )  # fmt: skip


def _card(row: tuple[Any, ...]) -> Card:
    values = list(row)
    values[4], values[5] = json.loads(values[4]), json.loads(values[5])
    values[11] = tuple(json.loads(values[11]))
    values[17] = None if values[17] is None else json.loads(values[17])
    return Card(*values)
