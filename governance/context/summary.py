"""The running summary without a model: the notes that keep most of what may be needed again, in few tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from governance.context.notes import Note
from governance.tokens import COUNTER

FADING = {"user": 60, "assistant": 30, "call": 30, "tool": 30}
"""Messages after which what was said counts half: what a person told of themselves holds longest."""
LEAST = 0.15
"""What is worth less than this is left to recall."""
SPOKEN = {"user": "user", "assistant": "you", "call": "you called", "tool": "result of"}
FRAME = 6
"""Tokens that name a message: who, and which tool."""


class Placed(NamedTuple):
    """A note and the number of its message."""

    at: int
    note: Note


class Chosen(NamedTuple):
    """The notes that are told, and those that have to wait: for now, the turns that are shown say the same."""

    told: tuple[Placed, ...]
    waiting: tuple[Placed, ...] = ()


def chosen(notes: Sequence[Placed], shown: frozenset[str], tokens: int, now: int) -> Chosen:
    """Of notes in the order of time, those that add most to what is shown anyway, within so many tokens."""
    covered, left = set(shown), tokens
    taken, opened = set[int](), set[tuple[int, str, str | None]]()
    waiting: dict[tuple[str, str, str], int] = {}
    for number in sorted(range(len(notes)), key=lambda number: (-_worth(notes[number], now), -number)):
        at, note = notes[number]
        if note.worth < LEAST or (note.values and note.values <= covered):
            if note.worth >= LEAST and note.values <= shown:
                waiting.setdefault((note.source, note.name, note.text), number)
            continue
        heads = {(at, note.source, None): FRAME, (at, note.source, note.name): 1 + COUNTER.text(note.name)}
        cost = note.tokens + 1 + sum(tokens for head, tokens in heads.items() if head not in opened)
        if cost <= left:
            left -= cost
            taken.add(number)
            opened.update(heads)
            covered |= note.values
    return Chosen(*(tuple(notes[number] for number in sorted(those)) for those in (taken, waiting.values())))


def _worth(placed: Placed, now: int) -> float:
    note = placed.note
    fading: float = 0.5 ** ((now - placed.at) / FADING[note.speaker])
    return note.worth / (note.tokens + 2) * fading


def told(notes: Sequence[Placed]) -> str:
    """Notes as text: those of one message together, the values of one name behind it."""
    lines: list[str] = []
    for (_, speaker, source), those in groupby(notes, key=lambda one: (one.at, one.note.speaker, one.note.source)):
        said = []
        for name, held in groupby(those, key=lambda one: one.note.name):
            texts = [one.note.text for one in held]
            said.append(f"{name} {', '.join(texts)}" if name else " ".join(texts))
        lines.append(f"{f'{SPOKEN[speaker]} {source}'.strip()}: {'; '.join(said)}")
    return "\n".join(lines)
