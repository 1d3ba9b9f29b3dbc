"""Compares what the service did with what the sessions and the ledger say about it."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.effects_graph import receipt, references
from benchmarks.effects_notes import Told
from benchmarks.effects_service import calls, entries, look_up
from governance.plane import parked
from governance.plane.control import Control
from governance.plane.verify import verify

UNSETTLED = "notify"
"""The tool that cannot be looked up: cut off in its middle, it is for a person, and nothing else is."""


KINDS = ("lost", "repeated", "guessed", "parked_unneeded", "ledger_rows_lost", "failed")


@dataclass(slots=True)
class Findings:
    """What is wrong, in words; how many there are of a kind is the figure."""

    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    parked_unneeded: list[str] = field(default_factory=list)
    ledger_rows_lost: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    sessions: int = 0
    effects: int = 0


def judge(folder: Path, told: Sequence[Told], cut: Iterable[Cut], settled: Iterable[str]) -> Findings:
    """Go through all books once every session is over."""
    done = entries(folder / "service.db")
    findings = Findings(sessions=sum(len(notes.forked) for notes in told), effects=len(done))
    by_ref = Counter(entry.ref for entry in done)
    for ref, count in by_ref.items():
        findings.repeated += [f"{ref} was carried out {again} times" for again in range(2, count + 1)]
    real = {receipt(entry) for entry in done}
    for notes in told:
        _judge_sessions(findings, notes, by_ref, real)
    for one in cut:
        if one.tool == UNSETTLED and one.session not in settled:
            findings.guessed.append(f"{one.session} went on with {one.tool} without asking how it had ended")
    _judge_outcomes(findings, folder / "control.db", real)
    _judge_ledger(findings, folder, {token for notes in told for token in notes.kept})
    return findings


def _judge_sessions(findings: Findings, told: Told, by_ref: Mapping[str, int], real: set[str]) -> None:
    for phase, ended in (("ended", told.ended), ("forked", told.forked)):
        for session, receipts in ended.items():
            for ref in references(session):
                said = receipts.get(ref)
                if said is None or not by_ref[ref]:
                    findings.lost.append(f"{session} {phase} with {said!r} of {ref}, done {by_ref[ref]} times")
                elif said not in real:
                    findings.guessed.append(f"{session} {phase} with {said!r}, which the service never said")
    for one in told.parked:
        if one["tool"] != UNSETTLED or not one["open"]:
            findings.parked_unneeded.append(f"{one['session']} ({one['phase']}): {one['why']}")
    for failed in told.failed:
        findings.failed.append(f"{failed['session']} ({failed['phase']}): {failed['why']}")
    explained = {note["session"] for note in (*told.parked, *told.failed)}
    findings.failed += [f"{session} never ended" for session in told.begun - told.forked.keys() - explained]


def _judge_outcomes(findings: Findings, control: Path, real: set[str]) -> None:
    """What is stored as an outcome is what the service said, for the arguments that were asked."""
    known = set()
    amounts = {tuple(said.split()[:2]) for said in real}
    for args, blob in rows(control, "SELECT args, result FROM effects WHERE state='finished'"):
        asked = json.loads(args)
        known.add(asked["ref"])
        if not any(said.encode() in blob for said in real if said.startswith(asked["ref"] + " ")):
            findings.guessed.append(f"the outcome of {asked['ref']} is none that the service gave")
        elif (asked["ref"], str(asked["amount"])) not in amounts:
            findings.guessed.append(f"{asked['ref']} was asked for {asked['amount']}, and something else was done")
    findings.lost += [f"nobody knows that {ref} was done" for ref in sorted({one.split()[0] for one in real} - known)]


def _judge_ledger(findings: Findings, folder: Path, kept: set[str]) -> None:
    """The chain is whole; acknowledged rows and the intent of every request are in it."""
    findings.ledger_rows_lost += map(str, verify(folder / "ledger.db").problems)
    intended: set[str] = set()
    for kind, text in rows(
        folder / "ledger.db", "SELECT kind, body FROM events WHERE kind IN ('benchmark.row', 'effect.intent')"
    ):
        body = json.loads(text)
        if kind == "benchmark.row":
            kept.discard(body["token"])
        else:
            intended.add(body["args"]["ref"])
    findings.ledger_rows_lost += [f"the acknowledged row {token}" for token in kept]
    asked = set(calls(folder / "service.db"))
    findings.ledger_rows_lost += [f"the intent of {ref}" for ref in sorted(asked - intended)]


class Cut(NamedTuple):
    """An effect that has begun and not ended."""

    key: str
    execution: str
    session: str
    tool: str


def cut_off(control: Path, sessions: str) -> set[Cut]:
    """The effects that a killed process left behind, of sessions whose names begin so."""
    found = rows(control, "SELECT key, execution, session, tool FROM effects WHERE state='intent' AND lease > 0")
    return {cut for cut in itertools.starmap(Cut, found) if cut.session.startswith(sessions)}


def settle_by_hand(path: Path, port: int, sessions: str) -> list[str]:
    """Do what a person does: ask the service what became of effects that nothing else can look up.

    The sessions that go on now are returned.
    """
    settled: list[str] = []
    with closing(Control(path)) as control:
        for one in parked.waiting(control):
            if one.tool != UNSETTLED or one.why == parked.CUT_OFF or not one.session.startswith(sessions):
                continue
            found = look_up(port, json.loads(one.args)["ref"])
            if found:
                parked.settle(control, one.id, "happened", outcome=receipt(found[0]))
            else:
                parked.settle(control, one.id, "may-happen")
            settled.append(one.session)
    return settled


def rows(path: Path, query: str, values: Sequence[Any] = ()) -> list[Any]:
    """Nothing where the first worker was killed before it had made the file, or the table."""
    if not path.exists():
        return []
    db = sqlite3.connect(path, timeout=30)
    try:
        return db.execute(query, values).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        db.close()
