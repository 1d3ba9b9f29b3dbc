"""`sidecar approvals`: the questions that wait for a person, and their answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from governance.cli.exits import Code, Failure
from governance.cli.places import (
    ERR,
    OUT,
    AsJson,
    By,
    ControlPath,
    LedgerPath,
    Places,
    Reason,
    local_principal,
    places,
    plain,
    print_json,
)
from governance.cli.records import last_body
from governance.errors import GovernanceError
from governance.loading import nearest
from governance.plane.approvals import Approvals, Card, Decision, Principal

CardId = Annotated[
    str | None,
    typer.Argument(metavar="[ID]", help="The approval, or the beginning of its id; not needed where only one waits."),
]

app = typer.Typer(help="Show and decide what waits for a person.", no_args_is_help=True)


@app.command("list")
def list_(ledger: LedgerPath = None, control: ControlPath = None, as_json: AsJson = False) -> None:
    """Show what waits, the oldest first."""
    where = places(ledger, control)
    cards: list[Card] = []
    if where.control.exists():
        with _book(where) as book:
            cards = book.cards()
    if as_json:
        print_json([described(card) for card in cards])
    else:
        OUT.print(waiting_table(cards) if cards else "no approval waits")


@app.command()
def show(card: CardId = None, ledger: LedgerPath = None, control: ControlPath = None, as_json: AsJson = False) -> None:
    """Show one approval whole: the exact thing, the evidence, who asks, until when, and what was decided."""
    with _book(places(ledger, control)) as book:
        found = described(_one(book, card))
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if name in ("asked", "expires"):
            value = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
        text = value if isinstance(value, str) else json.dumps(plain(value), indent=2, ensure_ascii=False)
        OUT.print(f"[bold]{name}[/bold]  {escape(text)}")


def _answer(decision: Decision) -> Callable[..., None]:
    """The command that decides so, where the decision says all; `edit` needs a value too."""

    def answer(
        card: CardId = None,
        by: By = None,
        reason: Reason = "",
        ledger: LedgerPath = None,
        control: ControlPath = None,
        as_json: AsJson = False,
    ) -> None:
        _decide(places(ledger, control), card, decision, local_principal(by), reason, as_json)

    return answer


app.command("approve", help="Approve exactly what was shown.")(_answer("approve"))
app.command("deny", help="Say no; the run is refused when it resumes.")(_answer("deny"))


@app.command()
def edit(
    value: Annotated[
        str,
        typer.Option("--value", metavar="JSON|FILE", help="What to do instead; keys left out stay as proposed."),
    ],
    card: CardId = None,
    by: By = None,
    reason: Reason = "",
    ledger: LedgerPath = None,
    control: ControlPath = None,
    as_json: AsJson = False,
) -> None:
    """Approve with other values: arguments of a tool, or the update of a node."""
    given = _value(value)
    _decide(places(ledger, control), card, "edit", local_principal(by), reason, as_json, lambda c: _edited(c, given))


def described(card: Card) -> dict[str, Any]:
    """A card as people and scripts see it."""
    decided = {"by": card.principal, "reason": card.reason, "at": card.decided, "edited": card.edited}
    return {
        **{key: value for key, value in card.shown().items() if key != "answer"},
        "kind": card.kind,
        "state": card.state,
        "approvers": list(card.approvers),
        "asked": card.asked,
        "decided": decided if card.decided is not None else None,
    }


def waiting_table(cards: list[Card]) -> Table:
    table = Table("id", "what", "why", "asked by", "session", "expires", title="waiting", title_justify="left")
    for card in cards:
        expires = time.strftime("%Y-%m-%d %H:%M", time.localtime(card.expires))
        cells = (card.id[:8], what_line(card), str(card.what.get("reason", "")), card.proposer, card.session, expires)
        table.add_row(*map(escape, cells))
    return table


def what_line(card: Card) -> str:
    """The exact thing on one line, cut where it is long."""
    content = card.what.get("args") if card.kind == "tool" else card.what.get("update")
    text = f"{card.what.get('tool') or card.what.get('node')} {json.dumps(content, ensure_ascii=False)}"
    return text if len(text) <= 160 else f"{text[:160]}..."


@contextmanager
def _book(where: Places) -> Iterator[Approvals]:
    with closing(where.open_control()) as control:
        yield Approvals(control)


def _one(book: Approvals, given: str | None) -> Card:
    if given:
        return book.get(given)
    waiting = book.cards()
    if len(waiting) != 1:
        ids = ", ".join(card.id[:8] for card in waiting[:8])
        raise Failure(f"expected an ID, as {len(waiting) or 'no'} approvals wait" + (f": {ids}" if ids else ""))
    return waiting[0]


def _decide(
    where: Places,
    given: str | None,
    decision: Decision,
    who: Principal,
    reason: str,
    as_json: bool,
    edited: Callable[[Card], Any] = lambda card: None,
) -> None:
    with _book(where) as book:
        card = _one(book, given)
        value = edited(card)
        where.check()
        try:
            settled = book.decide(card.id, decision, by=who, reason=reason, edited=value)
        except GovernanceError as error:
            facts = {"card": card.id, "decision": decision, "code": error.code, "reason": error.reason}
            where.record(card.session, "approval.refused", by=who, body=facts)
            raise
    facts = {"card": card.id, "state": settled.state, "digest": settled.digest, "reason": settled.reason}
    where.record(
        card.session, "approval.decided", by=who, body={**facts, "what": settled.what, "edited": settled.edited}
    )
    if as_json:
        print_json(described(settled))
    if settled.state == "expired":
        raise Failure(f"approval {card.id[:8]} expired before this decision; it counts as denied", Code.REFUSED)
    if not as_json:
        OUT.print(f"{settled.state}: {what_line(settled)}", markup=False)
        ERR.print(f"go on with: {resume_command(where, card.session)}", markup=False)


def resume_command(where: Places, session: str) -> str:
    """How the run that asked goes on, as it was started."""
    started = last_body(where.record_at(), session, "run.begun") or {}
    return str(started.get("resume") or f'graph.invoke(None, {{"configurable": {{"thread_id": {session!r}}}}})')


def _value(given: str) -> Any:
    try:
        return json.loads(given)
    except ValueError as error:
        file = Path(given)
        if not file.is_file():
            raise Failure(f"--value is neither JSON ({error}) nor a file that exists: {given!r:.80}") from None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{file} cannot be read as JSON: {error}") from None


def _edited(card: Card, given: Any) -> Any:
    """The whole new value; a tool gets no argument that it was not to be called with."""
    proposed = card.what.get("args") if card.kind == "tool" else card.what.get("update")
    if not isinstance(proposed, Mapping):
        return given
    if not isinstance(given, dict):
        raise Failure(f"expected --value as an object with some of {', '.join(proposed)}, got {type(given).__name__}")
    for key in given:
        if card.kind == "tool" and key not in proposed:
            raise Failure(f"{card.what.get('tool')} was not to be called with {key!r}; {nearest(key, proposed)}")
    return {**proposed, **given}
