"""Shows a part of results that are too large: their values instead of all their text, then as many of these as fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import ToolMessage

from governance.context.notes import Note, notes_of
from governance.context.summary import Placed, chosen, told
from governance.tokens import COUNTER, PER_MESSAGE, count_text

LEAST = 60
"""Tokens below which nothing is left of a result that could be read."""


def shortened(turns: Sequence[Any], room: int) -> tuple[list[Any], int]:
    """The turns with the largest results cut down to what there is room for, and how many these are."""
    sizes = {number: COUNTER.message(one) for number, one in enumerate(turns) if isinstance(one, ToolMessage)}
    rest = sum(COUNTER.message(one) for number, one in enumerate(turns) if number not in sizes)
    cap = _cap(list(sizes.values()), room - rest)
    found, changed = list[Any](), 0
    for number, message in enumerate(turns):
        large = sizes.get(number, 0) > cap
        changed += large
        found.append(_part(message, cap) if large else message)
    return found, changed


def _cap(sizes: list[int], room: int) -> int:
    """The size that none may exceed so that all together fit: small ones stay whole."""
    left, several = room, sorted(sizes)
    while several and several[0] * len(several) <= left:
        left -= several.pop(0)
    return max(LEAST, left // len(several)) if several else max([LEAST, *sizes])


def _values(facts: Sequence[Note], tokens: int) -> str:
    return told(chosen([Placed(0, one) for one in facts], frozenset(), tokens, 0).told)


def _part(message: ToolMessage, tokens: int) -> ToolMessage:
    """The result within so many tokens: whole records if they fit, else the values that tell most."""
    notes = notes_of(message)
    note = f"[{COUNTER.message(message)} tokens; too large to be shown whole]\n"
    room = tokens - PER_MESSAGE - COUNTER.text(note)
    lines = "\n".join(dict.fromkeys(record.text for record in notes.records))
    text = lines if count_text(lines) <= room else _values(notes.facts, room)
    while text and count_text(text) > room:
        text = text[: len(text) * 7 // 8]
    return message.model_copy(update={"content": note + text})
