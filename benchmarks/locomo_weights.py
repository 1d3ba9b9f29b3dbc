"""How far the weights of recall carry: fitted on all conversations of LoCoMo but one, and tried on that one.

The fit maximises the likelihood that the turns which answer a question are the ones chosen. What stands in
`memory.ranking.Weights` are the means of the five fits, divided by the weight of `meaning` and rounded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.locomo import System, conversations
from benchmarks.options import options_of
from benchmarks.report import Target, report
from memory import Weights
from memory.cues import Question
from memory.index import Ask
from memory.ranking import Postings, parts

Floats = NDArray[np.float32]
NAMES = tuple(field.name for field in fields(Weights))
TARGETS = {"r10": Target(0.81, "at least"), "r5": Target(0.72, "at least"), "mrr": Target(0.61, "at least")}
SHARPNESS, STEPS, RATE, PULL = 12.0, 120, 0.05, 0.01


class Asked(NamedTuple):
    """A question: each score of each turn, and which turns answer it."""

    scores: Floats
    answers: NDArray[np.bool_]


def questions(system: System, file: Path) -> list[list[Asked]]:
    """All questions of each conversation, with the scores that the store itself gives."""
    asked = list[list[Asked]]()
    for n, (turns, questioned) in enumerate(conversations(file)):
        system.add_many(f"conv-{n}", turns)
        order = {meta["id"]: row for row, (_, meta) in enumerate(turns)}
        mine = list[Asked]()
        for _, text, evidence in questioned:
            answers = np.zeros(len(turns), bool)
            answers[[order[id] for id in evidence]] = True
            mine.append(Asked(scores_of(system, n + 1, text), answers))
        asked.append(mine)
    return asked


def scores_of(system: System, scope: int, text: str) -> Floats:
    """What `parts` says of every turn; the scope's number is its place, because scopes are numbered as they come."""
    index, vectors = system.store._index, system.store._vectors
    loaded = index._load(scope)
    question = Question.read(text, loaded.spine.speakers)
    postings = Postings.of(loaded.spine, index._postings(scope, question))
    ask = Ask(text, vectors.queries([text])[text] if vectors else None, lambda value: True, 10, filtered=False)
    meaning = index._meaning(scope, loaded, ask, postings)
    scores = parts(loaded.spine, question, postings, meaning.cosines, meaning.norms)
    return np.stack([scores[name] for name in NAMES])


def fitted(asked: Sequence[Asked]) -> Floats:
    """Weights by Adam on the log-likelihood of the answers, pulled towards where they began."""
    start = np.full(len(NAMES), 0.3, np.float32)
    weights, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step in range(1, STEPS + 1):
        gradient = PULL * (weights - start)
        for scores, answers in asked:
            energy = SHARPNESS * (weights @ scores)
            chosen = np.exp(energy - energy.max())
            gradient -= SHARPNESS * (scores @ (answers / answers.sum() - chosen / chosen.sum())) / len(asked)
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        weights = weights - RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    return weights.astype(np.float32)


def measured(weights: Floats, asked: Sequence[Asked]) -> list[tuple[float, float, float]]:
    """Recall at ten, at five, and the reciprocal rank, of each question."""
    rows = list[tuple[float, float, float]]()
    for scores, answers in asked:
        hits = answers[np.argsort(-(weights @ scores), kind="stable")[:10]]
        first = 1 / (int(np.argmax(hits)) + 1) if hits.any() else 0.0
        rows.append((hits.sum() / answers.sum(), hits[:5].sum() / answers.sum(), first))
    return rows


def main() -> int:
    data = "folder with locomo/locomo_dev.json, or the file"
    parser = options_of("locomo_weights", __doc__, quick="not used", data=data)
    options = parser.parse_args()
    data = options.data or os.environ.get("SIDECAR_BENCH_DATA")
    if not data:
        parser.error("expected --data; the conversations come from github.com/snap-research/LoCoMo (CC BY-NC 4.0)")
    file = Path(data) / "locomo" / "locomo_dev.json" if Path(data).is_dir() else Path(data)
    system = System()
    asked = questions(system, file)
    system.close()
    fits = [fitted([one for m, talk in enumerate(asked) if m != n for one in talk]) for n in range(len(asked))]
    rows = [row for weights, talk in zip(fits, asked, strict=True) for row in measured(weights, talk)]
    found = np.mean(fits, axis=0)
    shown = {f"weight_{name}": float(weight / found[0]) for name, weight in zip(NAMES, found, strict=True)}
    r10, r5, mrr = (mean(column) for column in zip(*rows, strict=True))
    figures = {"r10": float(r10), "r5": float(r5), "mrr": float(mrr), **shown}
    return report("locomo_weights", figures, TARGETS, only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
