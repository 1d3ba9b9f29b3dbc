"""How much each memory of a scope has to do with a question: several scores, fused into one by fixed weights.

Scores are fused, not ranks: a rank forgets that the first hit was good and the second was not. What each score adds is
kept beside the result. A memory that belongs to a conversation is judged with its neighbours there, because the answer
to a question is often the line after it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date
from math import log

import numpy as np
from numpy.typing import NDArray

from memory.cues import NUMBER, QUESTION, TIME, Question

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
K1, B = 1.2, 0.75


@dataclass(frozen=True, slots=True)
class Weights:
    """What each score counts, `meaning` being the measure; chosen over conversations, each left out in its turn."""

    meaning: float = 1.0  # cosine with the memory and, by half, with its neighbours in the conversation
    words: float = 0.3  # BM25 of the memory, over the statistics of its scope alone
    session: float = 0.35  # BM25 of the whole conversation it was said in
    coverage: float = 0.3  # share of the question's words found in it or beside it
    speaker: float = 0.15  # the one person whom the question names said it
    answer_words: float = 0.2  # it follows a question, and that has the words
    answer_meaning: float = 0.25  # it follows a question, and that has the meaning
    asks: float = -0.15  # it is a question itself
    when: float = 0.35  # "when ...", and it speaks of time
    count: float = 0.2  # "how many ...", and it holds a number
    month: float = 0.75  # it is from the month asked for, or points there
    day: float = 1.0  # it is from the day asked for, or from those around it


WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Spine:
    """The memories of a scope as columns, in the order in which they came; what ranking needs besides their texts."""

    ids: Ints
    words: Ints  # how many each has; 0 where it is not indexed
    session: Ints  # number of the conversation, -1 for none
    previous: Ints  # row of the one before it in its conversation, -1 for none
    following: Ints
    speaker: Ints
    speakers: tuple[str, ...]
    day: Ints
    early: Ints
    late: Ints
    marks: Ints

    def before(self, scores: Floats) -> Floats:
        """For each memory the score of the one before it."""
        return np.where(self.previous >= 0, scores[self.previous], np.float32(0))

    def after(self, scores: Floats) -> Floats:
        return np.where(self.following >= 0, scores[self.following], np.float32(0))


@dataclass(frozen=True, slots=True)
class Postings:
    """Where the question's words stand: a matrix of counts, one row a word."""

    counts: Floats

    @staticmethod
    def of(spine: Spine, found: dict[str, tuple[list[int], list[int]]]) -> Postings:
        counts = np.zeros((len(found), len(spine.ids)), np.float32)
        for row, (items, times) in enumerate(found.values()):
            counts[row, np.searchsorted(spine.ids, items)] = times
        return Postings(counts)


def parts(spine: Spine, question: Question, postings: Postings, cosines: Floats, norms: Floats) -> dict[str, Floats]:
    """Each score of each memory, before any weight; `norms` are of a memory's vector together with its neighbours'."""
    counts, zeros = postings.counts, np.zeros(len(spine.ids), np.float32)
    words = _upto_one(bm25(counts, spine.words.astype(np.float32)))
    reply = np.where(spine.previous >= 0, (spine.marks[spine.previous] & QUESTION) > 0, False)
    together = cosines + 0.5 * (spine.before(cosines) + spine.after(cosines))
    return {
        "meaning": np.divide(together, norms, out=zeros.copy(), where=norms > 0),
        "words": words,
        "session": _session(spine, counts),
        "coverage": _coverage(spine, counts),
        "speaker": _speaker(spine, question),
        "answer_words": spine.before(words) * reply,
        "answer_meaning": spine.before(cosines) * reply,
        "asks": _marked(spine, QUESTION) * (spine.session >= 0),
        "when": _marked(spine, TIME) * question.when,
        "count": _marked(spine, NUMBER) * question.count,
        "month": _month(spine, question),
        "day": _day(spine, question),
    }


def weighed(scores: dict[str, Floats], weights: Weights) -> dict[str, Floats]:
    """What each score adds to the whole."""
    return {field.name: scores[field.name] * np.float32(getattr(weights, field.name)) for field in fields(weights)}


def bm25(counts: Floats, lengths: Floats) -> Floats:
    """Okapi BM25 as SQLite's FTS5 defines it; counts and lengths are of one scope, so no scope sways another."""
    present = lengths > 0
    total = int(present.sum())
    mean = float(lengths.sum()) / total if total else 1.0
    scores = np.zeros(counts.shape[1], np.float32)
    for row in counts:
        holding = int((row > 0).sum())
        rarity = max(1e-6, log((total - holding + 0.5) / (holding + 0.5))) if holding < total else 1e-6
        scores += rarity * row * (K1 + 1) / (row + K1 * (1 - B + B * lengths / mean))
    return scores


def _upto_one(scores: Floats) -> Floats:
    most = float(scores.max(initial=0.0))
    return scores / np.float32(most) if most > 0 else scores


def _session(spine: Spine, counts: Floats) -> Floats:
    inside = spine.session >= 0
    if not inside.any() or not counts.any():
        return np.zeros(len(spine.ids), np.float32)
    number = int(spine.session.max()) + 1
    own = spine.session[inside]
    sums = np.stack([np.bincount(own, row[inside], number) for row in counts]).astype(np.float32)
    lengths = np.bincount(own, spine.words[inside], number).astype(np.float32)
    return np.where(inside, _upto_one(bm25(sums, lengths))[spine.session], np.float32(0))


def _coverage(spine: Spine, counts: Floats) -> Floats:
    if not len(counts):
        return np.zeros(len(spine.ids), np.float32)
    found = np.zeros(len(spine.ids), np.float32)
    for row in counts:
        found += (row + spine.before(row) + spine.after(row)) > 0
    return found / np.float32(len(counts))


def _speaker(spine: Spine, question: Question) -> Floats:
    if len(question.named) != 1:
        return np.zeros(len(spine.ids), np.float32)
    [name] = question.named
    return np.asarray(spine.speaker == spine.speakers.index(name), np.float32)


def _marked(spine: Spine, bit: int) -> Floats:
    return ((spine.marks & bit) > 0).astype(np.float32)


def _month(spine: Spine, question: Question) -> Floats:
    hits = np.zeros(len(spine.ids), np.float32)
    for year, month in question.months if spine.day.any() else ():
        for days in (spine.day, spine.early, spine.late):
            found = [d > 0 and _is(date.fromordinal(d), year, month) for d in days.tolist()]
            hits = np.maximum(hits, np.array(found, np.float32))
    return hits


def _is(day: date, year: int | None, month: int) -> bool:
    return day.month == month and year in (None, day.year)


def _day(spine: Spine, question: Question) -> Floats:
    near = np.zeros(len(spine.ids), np.float32)
    if not question.days or not spine.day.any():
        return near
    known = spine.day > 0
    years = {date.fromordinal(int(day)).year for day in (spine.day[known].min(), spine.day[known].max())}
    for asked in question.dates(range(min(years), max(years) + 1)):
        distance = np.where(known, np.abs(spine.day - asked), 10_000).astype(np.float32)
        near = np.maximum(near, np.exp(-distance / np.float32(4)))
    return near
