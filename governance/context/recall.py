"""Finds what the newest turns are about among the records of turns that were left out (BM25; no model, no disk)."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from governance.context.notes import SHORTEST, Record

SEGMENTS = 8
"""Chunks of turns whose records can be recalled; of older ones only the summary knows."""
ASKED, WEIGHED = 32, 12
"""Words of a question that are looked up, identifiers and long ones first, and those that count: the rarest."""
COMMON = 12
"""A word in more records than this tells nothing."""
ENOUGH = 0.7
"""How much a record has to have in common with the question: a word that it alone has, or several rare ones."""
IDENTIFIES = 2.0
"""How much more an identifier says than a word."""
FADING = 0.93
"""What a chunk counts less than the one after it."""
K1, B = 1.2, 0.4


@dataclass(frozen=True, slots=True)
class Segment:
    """The records of one chunk, and which of them hold a word; never changed, so that forks can share it."""

    records: tuple[Record, ...]
    postings: dict[str, tuple[int, ...]] = field(repr=False)
    length: int


def segment(records: Iterable[Record]) -> Segment:
    """An index of records; of those that say the same, one."""
    kept = tuple({record.text: record for record in records}.values())
    postings: dict[str, list[int]] = defaultdict(list)
    for number, record in enumerate(kept):
        for term in record.terms:
            postings[term].append(number)
    held = {term: tuple(numbers) for term, numbers in postings.items()}
    return Segment(kept, held, sum(record.tokens for record in kept))


def best(segments: Sequence[Segment], question: Iterable[str], most: int) -> list[Record]:
    """The records that have enough in common with a question, the best first; of equals the newest."""
    total = sum(len(one.records) for one in segments)
    if not total:
        return []
    mean = sum(one.length for one in segments) / total
    scores: dict[tuple[int, int], float] = defaultdict(float)
    for weight, where in _rarest(segments, question, total):
        for at, numbers in where:
            faded = weight * (K1 + 1) * FADING ** (len(segments) - 1 - at)
            for number in numbers:
                length = segments[at].records[number].tokens
                scores[at, number] += faded / (1 + K1 * (1 - B + B * length / mean))
    enough = ENOUGH * math.log(1 + total)
    ranked = ((score, at, number) for (at, number), score in scores.items() if score >= enough)
    return [segments[at].records[number] for _, at, number in heapq.nlargest(most, ranked)]


Where = list[tuple[int, tuple[int, ...]]]


def _rarest(segments: Sequence[Segment], question: Iterable[str], total: int) -> list[tuple[float, Where]]:
    """The words that tell most, with their weights and where they are."""
    found: list[tuple[float, str, Where]] = []
    for term in sorted(question, key=_telling)[:ASKED]:
        where = [(at, held) for at, one in enumerate(segments) if (held := one.postings.get(term))]
        count = sum(len(held) for _, held in where)
        if 0 < count <= COMMON:
            weight = math.log(1 + (total - count + 0.5) / (count + 0.5))
            found.append((weight * IDENTIFIES if _identifies(term) else weight, term, where))
    found.sort(key=lambda one: (-one[0], one[1]))
    return [(weight, where) for weight, _, where in found[:WEIGHED]]


def _telling(term: str) -> tuple[bool, int, str]:
    return not _identifies(term), -len(term), term


def _identifies(term: str) -> bool:
    return any(map(str.isdigit, term)) and not (term.isdigit() and len(term) < SHORTEST)
