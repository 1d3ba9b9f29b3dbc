"""What people decided about questions of the record, decided again about those of the replay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

from governance.plane.approvals import Decision, Principal
from governance.replay.findings import Findings
from governance.replay.governed import Replaying
from governance.replay.recording import Row
from governance.replay.transcript import Run

DENIED = re.compile(r"was (denied|expired|superseded) by (\w+):(.*?): (.*)", re.S)
SETTLED = ("approved", "edited", "denied", "expired", "decided", "committed")
DECISIONS: dict[str, Decision] = {"approved": "approve", "edited": "edit", "denied": "deny"}


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a card in one run."""

    card: str
    state: str
    by: Principal | None
    reason: str
    edited: Any = None


def decide_again(run: Run, those: list[Decided], governance: Replaying, findings: Findings) -> None:
    """Settle, before a run, the cards that it did not ask about any more; the temporary control file knows of it."""
    pairs, asked = findings.likeness.pairs, _asked_in(run, findings)
    decided = {pairs.forward(one.card): one for one in those if one.card not in asked}
    for card in governance.approvals.cards(session=findings.recording.session):
        one = decided.get(card.id)
        if one is None or not card.open:
            continue
        if one.state == "expired":
            governance.approvals.expire(card)
        elif one.state in DECISIONS:
            by = one.by or Principal(card.approvers[0] if card.approvers else "somebody", "code")
            edited = pairs.forward(one.edited)
            governance.approvals.settle(card.id, DECISIONS[one.state], by=by, reason=one.reason, edited=edited)


def _asked_in(run: Run, findings: Findings) -> set[str]:
    """The cards that a run left unanswered."""
    rows = [row for row in run.rows if row.word == "interrupted" and "asked" in row.body]
    return {str(one["id"]) for row in rows for one in findings.recording.tree(row, "asked")}


def decisions(rows: list[Row]) -> Iterator[Decided]:
    """What rows say about cards; of a decision made elsewhere that came to nothing only the refusal tells."""
    asked: dict[str, Row] = {}
    for row in rows:
        body = row.body
        if row.kind == "approval.asked":
            asked[row.path] = row
        if row.boundary == "approval" and row.word in SETTLED:
            state = str(body.get("state", row.word))
            if row.word == "committed":
                state = "edited" if "edited" in body else "approved"
            yield Decided(
                str(body["card"]), state, _principal(row.actor), str(body.get("reason", "")), body.get("edited")
            )
        elif body.get("code") == "denied" and (body.get("facts") or {}).get("card"):
            found = DENIED.search(str(body.get("reason")))
            if found is not None:
                who = Principal(found[3], cast(Literal["server", "local", "code"], found[2]))
                yield Decided(str(body["facts"]["card"]), found[1], who, found[4])
        elif row.kind == "tool.refused" and row.path in asked and "args" in (body.get("facts") or {}):
            if body["facts"]["args"] != body.get("args"):  # somebody edited them, and the contract refused that
                yield Decided(str(asked[row.path].body["card"]), "edited", None, "", body["facts"]["args"])


def _principal(actor: str) -> Principal:
    how, _, name = actor.partition(":")
    return Principal(name, cast(Literal["server", "local", "code"], how))
