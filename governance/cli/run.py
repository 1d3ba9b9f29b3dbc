"""`sidecar run`: one run of a graph, from its input to an end that can be gone on from."""

from __future__ import annotations

import asyncio
import os
import shlex
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from langgraph.types import Command

import governance
from governance.cli.approvals import described, what_line
from governance.cli.exits import CODES, Code, Failure, explained
from governance.cli.places import (
    ERR,
    AsJson,
    ControlPath,
    LedgerPath,
    Places,
    lend,
    local_policy,
    local_principal,
    places,
    print_json,
)
from governance.cli.progress import View
from governance.cli.saver import End, drive, durable
from governance.cli.start import check_input, check_ledger, read_input
from governance.errors import LedgerError
from governance.loading import load_graph
from governance.plane.approvals import Card
from governance.seams import governance_of
from governance.sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked for: the graph, the thread, and how to ask for the rest of it."""

    graph: str
    thread: str
    checkpoint: Path | None
    places: Places

    @property
    def again(self) -> str:
        """The command that goes on with this thread."""
        words = ["sidecar", "run", self.graph, "--thread", self.thread, "--resume", *self.places.options]
        if self.checkpoint is not None:
            words += ["--checkpoint", str(self.checkpoint)]
        return shlex.join(words)


def run(
    graph: Annotated[
        str, typer.Argument(metavar="GRAPH", help="A name in langgraph.json, ./file.py:attr or module:attr.")
    ],
    given: Annotated[
        str | None, typer.Option("--input", metavar="FILE|-", help="The input as JSON; - reads stdin.")
    ] = None,
    thread: Annotated[str | None, typer.Option("--thread", metavar="ID", help="The session; else a new one.")] = None,
    goes_on: Annotated[
        bool,
        typer.Option("--resume", help="Go on with --thread; --input is then the answer to the graph's own question."),
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Checkpoints; else the graph's own, or beside the ledger."),
    ] = None,
    ledger: LedgerPath = None,
    control: ControlPath = None,
    as_json: AsJson = False,
) -> None:
    """Run a graph; progress goes to stderr, its final state as JSON to stdout."""
    if goes_on and thread is None:
        raise Failure("--resume needs the thread to go on with: --thread ID")
    if given is None and not goes_on:
        raise Failure("expected --input FILE, or - to read JSON from stdin (or --thread ID --resume)")
    value = read_input(given) if given is not None else None
    where = places(ledger, control)
    lend(where, ledger, control)
    loaded = load_graph(graph)
    if not goes_on:
        check_input(loaded, value)
    sidecar, note = _governed(loaded, graph, where)
    check_ledger(sidecar, ledger, control)
    asked = Run(graph, thread or str(uuid.uuid4()), checkpoint, _used(sidecar, where))
    view = View(ERR, quiet=as_json)
    if note:
        view.note(note)
    raise typer.Exit(_carried_out(asked, loaded, value, goes_on, sidecar, view, as_json))


run.__doc__ = f"{run.__doc__}\n\n{CODES}"


def _governed(graph: Any, name: str, where: Places) -> tuple[Sidecar, str]:
    """The Sidecar behind a graph; one that nobody governed is observed, and that is said."""
    found = governance_of(graph)
    if found is not None:
        return found.sidecar, ""
    sidecar = Sidecar(ledger=where.opened(), control=where.control)
    governance.govern(graph, policy=local_policy(), sidecar=sidecar)
    return (
        sidecar,
        f"{name} is not governed: it is only observed, nothing is refused; see governance.govern(contracts=...)",
    )


def _used(sidecar: Sidecar, where: Places) -> Places:
    """Where the record really is: a graph may bring a Sidecar of its own."""
    ledger, control = sidecar.ledger.path, sidecar.control.path
    if (ledger.resolve(), control.resolve()) == (where.ledger.resolve(), where.control.resolve()):
        return where
    return Places(ledger, control, ("--ledger", str(ledger), "--control", str(control)))


def _carried_out(
    asked: Run, graph: Any, value: Any, goes_on: bool, sidecar: Sidecar, view: View, as_json: bool
) -> Code:
    saver = durable(graph, asked.checkpoint, sidecar.ledger.path.with_name("checkpoints.db"))
    start: Any = Command(resume=value) if goes_on and value is not None else value
    by = local_principal(None)
    _note(
        sidecar,
        asked,
        "run.begun",
        f"{by.how}:{by.name}",
        {"graph": asked.graph, "resumed": goes_on, "resume": asked.again},
    )
    sidecar.ledger.flush()

    def leave(*_: object) -> None:
        os._exit(_interrupted(asked, sidecar, as_json))

    try:
        with view:
            end = asyncio.run(drive(graph, start, asked.thread, saver=saver, resumes=goes_on, view=view, leave=leave))
    except KeyboardInterrupt:
        return _interrupted(asked, sidecar, as_json)
    except Exception as error:
        return _broken(asked, sidecar, error, as_json, view)
    return _ended(asked, sidecar, end, as_json, view)


def _ended(asked: Run, sidecar: Sidecar, end: End, as_json: bool, view: View) -> Code:
    cards = sidecar.approvals.cards(session=asked.thread) if end.questions or end.waits else []
    code = Code.WAITS if end.questions or end.waits else Code.DONE
    word = "waits" if code is Code.WAITS else "done"
    _note(sidecar, asked, "run.ended", "", {"status": word})
    sidecar.close()
    if sidecar.ledger.broken is not None:
        raise sidecar.ledger.broken
    known = {card.id for card in cards}
    questions = [q for q in end.questions if q["id"] not in known]
    if as_json:
        waiting = {"approvals": [described(card) for card in cards], "questions": questions}
        print_json({"status": word, "thread": asked.thread, "state": end.state, **waiting, "resume": asked.again})
        return code
    print_json(end.state)
    for card in cards:
        _show_card(card, asked, view)
    for question in questions:
        view.question(question["value"])
    view.note(f"thread {asked.thread}: {word}")
    if code is Code.WAITS:
        view.say(f"then go on with: {asked.again}{' --input ANSWER.json' if questions else ''}")
    return code


def _show_card(card: Card, asked: Run, view: View) -> None:
    decide = shlex.join(["sidecar", "approvals", "approve", card.id[:8], "--reason", "...", *asked.places.options])
    view.say(f"waits for approval {card.id[:8]}: {what_line(card)}")
    view.say(f"  asked by {card.proposer}: {card.what.get('reason', '')}")
    view.say(f"  decide with: {decide}  (or deny, or edit --value JSON)")


def _interrupted(asked: Run, sidecar: Sidecar, as_json: bool) -> Code:
    _note(sidecar, asked, "run.interrupted", "", {})
    try:
        sidecar.ledger.flush()
    except LedgerError as error:
        _say(f"error: {error.reason}")
    if as_json:
        print_json({"status": "interrupted", "thread": asked.thread, "resume": asked.again})
    _say(f"interrupted; what is finished is kept, go on with: {asked.again}")
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        # The thread of a node would keep the process alive; what it still does counts nothing any more.
        os._exit(Code.INTERRUPTED)
    return Code.INTERRUPTED


def _say(line: str) -> None:
    """On stderr past its buffer: a second Ctrl-C may have come in the middle of a print."""
    os.write(2, f"{line}\n".encode())


def _broken(asked: Run, sidecar: Sidecar, error: Exception, as_json: bool, view: View) -> Code:
    text, code = explained(error)
    word = "refused" if code is Code.REFUSED else "failed"
    _note(sidecar, asked, "run.ended", "", {"status": word, "error": text})
    sidecar.close()
    if as_json:
        facts = {"code": getattr(error, "code", type(error).__name__), "reason": text}
        print_json({"status": word, "thread": asked.thread, **facts, "resume": asked.again})
    raise error


def _note(sidecar: Sidecar, asked: Run, kind: str, actor: str, body: dict[str, Any]) -> None:
    sidecar.ledger.record(asked.thread, kind, actor=actor, body=body)
