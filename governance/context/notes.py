"""What is worth keeping of a turn that is left out: the identifiers, amounts, dates and names in it.

No model is asked, so the same message always gives the same notes. Text gives its sentences; arguments and results
that are JSON give each value by its name (`facts`, for the running summary) and each record as one line (`records`,
to be recalled).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson
from langchain_core.messages import HumanMessage, ToolMessage

from governance import canonical
from governance.context.records import LONGEST, packed, parsed, records_of
from governance.context.worth import PLAIN, worth_of
from governance.tokens import count_text

Speaker = Literal["user", "assistant", "call", "tool"]
SHORTEST = 4
"""Digits of a number that somebody may look for by itself: the parts of a date are in everything."""
SEEN = 4_096
"""Messages whose notes are remembered, as several prompts hold the same ones."""
WORD = re.compile(r"[^\W_]+")
VALUE = re.compile(r"[#+$€£]?\w[\w.@:/+-]*\w|\w")
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Note:
    """One value or one sentence: who said it, under which name, and what in it somebody may need again."""

    speaker: Speaker
    source: str
    """The tool, where it is one's arguments or result."""
    name: str
    text: str
    values: frozenset[str]
    worth: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Record:
    """One line that can be recalled, and the words it is found by."""

    speaker: Speaker
    source: str
    text: str
    values: frozenset[str]
    terms: frozenset[str]
    tokens: int


@dataclass(frozen=True, slots=True)
class Notes:
    """All there is to keep of one message."""

    facts: tuple[Note, ...]
    records: tuple[Record, ...]


def notes_of(message: Any) -> Notes:
    """The notes of one message, in its order."""
    calls = tuple((str(call["name"]), canonical.text(call["args"])) for call in calls_of(message))
    speaker: Speaker = (
        "user" if isinstance(message, HumanMessage) else "tool" if isinstance(message, ToolMessage) else "assistant"
    )
    return _notes(speaker, message.name or "", str(message.text), calls)


def calls_of(message: Any) -> list[Any]:
    """The tool calls of an answer; none of any other message."""
    return getattr(message, "tool_calls", None) or []


@lru_cache(maxsize=SEEN)
def terms_of(text: str) -> frozenset[str]:
    """The words of a text as they are searched for: identifiers both whole and in their parts."""
    whole = (found.lower() for found in VALUE.findall(text))
    parts = (word for word in WORD.findall(text) if len(word) >= SHORTEST or not word.isdigit())
    return frozenset(whole) | frozenset(stem(word.lower()) for word in parts)


@lru_cache(maxsize=SEEN)
def values_of(text: str) -> frozenset[str]:
    """What in a text looks like an identifier, an amount, a date or a name in capitals."""
    return frozenset(found for found in VALUE.findall(text) if worth_of(found) > PLAIN)


def stem(word: str) -> str:
    """Plural and singular alike; enough for looking up what was said, in the language it was said in."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


TOLD: dict[Speaker, float] = {"user": 1.5}
"""What the values in a sentence are worth more where a person said it."""
WORDY = 30
"""Tokens of a sentence above which the values in it can also be kept without it."""
SAID: dict[Speaker, float] = {"user": 0.03, "assistant": 0.01, "call": 0.0, "tool": 0.01}
"""What a token of a sentence is worth by itself: decisions are said in words."""


@lru_cache(maxsize=SEEN)
def _notes(speaker: Speaker, source: str, text: str, calls: tuple[tuple[str, str], ...]) -> Notes:
    facts, records = list[Note](), list[Record]()
    held = parsed(text)
    if held is not None:
        _read(speaker, source, held, facts, records)
    else:
        for line in _lines(text):
            values = values_of(line)
            tokens = count_text(line)
            worth = TOLD.get(speaker, 1.0) * sum(map(worth_of, sorted(values))) + SAID[speaker] * tokens
            facts.append(Note(speaker, source, "", line, values, worth, tokens))
            if tokens > WORDY:
                facts += [
                    Note(speaker, source, "", value, frozenset({value}), worth_of(value), count_text(value))
                    for value in sorted(values, key=lambda value: (line.index(value), value))
                ]
            records.append(_record(speaker, source, line, values))
    for name, args in calls:
        _read("call", name, orjson.loads(args), facts, records)
    return Notes(tuple(facts), tuple(records))


def _lines(text: str) -> Iterator[str]:
    for sentence in SENTENCE.split(text):
        for start in range(0, len(sentence), LONGEST):
            line = sentence[start : start + LONGEST].strip()
            if line:
                yield line


def _read(speaker: Speaker, source: str, held: Any, facts: list[Note], records: list[Record]) -> None:
    for label, pairs in records_of(held):
        for name, value in pairs:
            worth = worth_of(value)
            facts.append(Note(speaker, source, name, value, frozenset({value}), worth, count_text(value)))
        for line in packed(label, pairs):
            records.append(_record(speaker, source, line, frozenset(value for _, value in pairs if value in line)))


def _record(speaker: Speaker, source: str, line: str, values: frozenset[str]) -> Record:
    return Record(speaker, source, line, values, terms_of(line), count_text(line))
