"""State that changes past the nodes: judged where it enters a governed graph.

`update_state`, `Command(update=, goto=)` as input and rewinds skip every contract, so in enforce mode
only a named operator may use them. A resume passes, but not as an answer to a card it does not name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langgraph.types import Command

from governance.call import Call
from governance.current import current_call
from governance.errors import AuthorityRefused, DoorClosed
from governance.operators import current_operator

if TYPE_CHECKING:
    from governance.sidecar import Governance

INTERRUPT_ID = re.compile(r"[0-9a-f]{32}")


def check_update(governance: Governance, session: str, what: str, facts: Mapping[str, Any]) -> None:
    """Refuse a change of state from outside unless an operator makes it, and record it either way."""
    call = current_call()
    if call is not None and (governance.enforcing or call.governance.enforcing):
        closed = DoorClosed(f"{call.node.place} tried to change state by {what}; return an update instead", code="door")
        raise call.node.refuse(closed) if call.governance.enforcing else closed
    operator = current_operator()
    body = {"what": what, **facts, "reason": operator.reason if operator else ""}
    actor = operator.name if operator else ""
    if not governance.enforcing or governance.doors == "open" or operator is not None:
        governance.ledger.record(session, "door.used", actor=actor, body=body)
        return
    governance.ledger.record(session, "door.refused", actor=actor, body=body)
    raise DoorClosed(
        f"{what} changes state past the contracts; do it as a named person: "
        "with governance.operator('name', reason='...'): ...",
        what=what,
    )


def checked_input(governance: Governance, session: str, given: Any, *, rewinds: bool) -> Any:
    """The input a governed run may start with; answers to cards come back bound to their card."""
    if rewinds:
        check_update(governance, session, "a rewind to an earlier checkpoint", {})
    if not isinstance(given, Command):
        return given
    if given.update is not None or given.goto:
        facts = {"goto": str(given.goto)[:200]} if given.goto else {}
        check_update(governance, session, "Command(update=, goto=) as input", facts)
    if given.resume is None or not governance.enforcing:
        return given
    return _bound(governance, session, given)


def check_nested_resume(governance: Governance, given: Command[Any], parent: Call) -> None:
    """Code of a node answers no question that was put to a person."""
    resume = given.resume
    if not isinstance(resume, Mapping) or not (governance.enforcing or parent.governance.enforcing):
        return
    books = (governance.approvals, parent.governance.approvals)
    answers = [resume, *(one for one in resume.values() if isinstance(one, Mapping))]
    shaped = any("card" in one and "decision" in one for one in answers)
    if shaped or any(book.exists(str(card)) for card in resume for book in books):
        refused = AuthorityRefused(f"{parent.node.place} tried to answer a question to a person", code="self-approval")
        raise parent.node.refuse(refused) if parent.governance.enforcing else refused


def _bound(governance: Governance, session: str, given: Command[Any]) -> Command[Any]:
    resume = given.resume
    if isinstance(resume, Mapping) and isinstance(resume.get("card"), str) and "decision" in resume:
        return Command(graph=given.graph, update=given.update, goto=given.goto, resume={resume["card"]: dict(resume)})
    waiting = governance.sidecar.control.pending(session)
    if not waiting or (isinstance(resume, Mapping) and resume and all(map(INTERRUPT_ID.fullmatch, resume))):
        return given
    governance.ledger.record(session, "door.refused", body={"what": "an untyped resume", "card": waiting[0]})
    raise AuthorityRefused(
        f"this session waits for a decision on card {waiting[0]}; resume with "
        f"Command(resume={{'card': {waiting[0]!r}, 'decision': 'approve', 'by': ..., 'reason': ...}}), "
        "or decide with `sidecar approvals` and resume with input None",
        code="untyped-resume",
        cards=list(waiting),
    )
