"""Recall on LoCoMo's conversations, without a language model: are the turns that answer a question among the first ten?

`System` is what a judge runs: one scope a person, one memory a turn. The data is not ours to ship (CC BY-NC 4.0):
`--data` names a folder with `locomo/locomo_dev.json`, or that file, as github.com/snap-research/LoCoMo publishes it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import bpe_openai
from langgraph.store.base import PutOp

from benchmarks.options import options_of
from benchmarks.report import Target, report
from memory import EmbeddingUnavailable, MiniLM, TieredStore

TARGETS = {
    "r10": Target(0.81, "at least"),
    "r5": Target(0.72, "at least"),
    "mrr": Target(0.61, "at least"),
    "tokens": Target(420),
}
KINDS = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}


class System:
    """A `TieredStore` behind two methods; it recalls by words alone where the embedding model was not fetched."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory()
        index: Any = {"fields": ["text"]}
        try:
            index |= {"embed": MiniLM(threads=os.cpu_count() or 1), "dims": MiniLM.dims}
        except EmbeddingUnavailable as missing:
            print(f"locomo: by words alone: {missing}", file=sys.stderr)
        self.store = TieredStore(Path(self._folder.name) / "memory.db", index=index)

    def add_many(self, user: str, turns: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Remember turns in the order in which they were said."""
        self.store.batch([PutOp((user,), str(meta["id"]), _value(text, meta)) for text, meta in turns])

    def search(self, user: str, query: str, k: int) -> list[dict[str, Any]]:
        """The best `k` turns, best first."""
        return [
            {"id": found.key, "text": found.value["text"]} for found in self.store.search((user,), query=query, limit=k)
        ]

    def close(self) -> None:
        self.store.close()
        self._folder.cleanup()


def _value(text: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    value = {"text": text, "session": str(meta["session"]), "speaker": str(meta["speaker"])}
    with suppress(ValueError):  # a turn whose date cannot be read is remembered without one
        value["at"] = datetime.strptime(str(meta["date"]), "%I:%M %p on %d %B, %Y").isoformat()
    return value


class Answered(NamedTuple):
    """One question, and where the turns that answer it came."""

    kind: str
    r5: float
    r10: float
    mrr: float
    tokens: int
    ms: float


def conversations(file: Path) -> Iterator[tuple[list[tuple[str, dict[str, Any]]], list[tuple[str, str, set[str]]]]]:
    """Each conversation as its turns and its questions: kind, text, and the turns that answer it."""
    for sample in json.loads(file.read_text(encoding="utf-8")):
        talk = sample["conversation"]
        turns = [
            _turn(talk, session, turn) for session in range(1, 60) for turn in talk.get(f"session_{session}") or []
        ]
        known = {meta["id"] for _, meta in turns}
        yield turns, [question for asked in sample["qa"] if (question := _question(asked, known))[2]]


def _turn(talk: Mapping[str, Any], session: int, turn: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    photo = f" [shares a photo: {turn['blip_caption']}]" if turn.get("blip_caption") else ""
    meta = {
        "id": turn["dia_id"],
        "session": session,
        "speaker": turn["speaker"],
        "date": talk[f"session_{session}_date_time"],
    }
    return f"{turn['speaker']}: {turn['text']}{photo}", meta


def _question(asked: Mapping[str, Any], known: set[str]) -> tuple[str, str, set[str]]:
    named = re.findall(r"D:?(\d+):(\d+)", " ".join(map(str, asked.get("evidence") or [])))
    return KINDS[asked["category"]], asked["question"], {f"D{int(a)}:{int(b)}" for a, b in named} & known


def answers(system: System, file: Path, *, most: int | None) -> Iterator[Answered]:
    """Every question asked, once all that was said is remembered."""
    tokens = bpe_openai.get_encoding("o200k_base")
    for n, (turns, questions) in enumerate(conversations(file)):
        if n == most:
            return
        system.add_many(f"conv-{n}", turns)
        for kind, text, evidence in questions:
            started = time.perf_counter()
            found = system.search(f"conv-{n}", text, 10)
            ms = (time.perf_counter() - started) * 1e3
            hits = [one["id"] in evidence for one in found]
            first = hits.index(True) + 1 if any(hits) else 0
            yield Answered(
                kind, sum(hits[:5]) / len(evidence), sum(hits) / len(evidence), 1 / first if first else 0.0,
                sum(len(tokens.encode_ordinary(one["text"])) for one in found), ms,
            )  # fmt: skip


def figures(asked: Sequence[Answered]) -> dict[str, float]:
    kinds = defaultdict[str, list[float]](list)
    for one in asked:
        kinds[one.kind].append(one.r10)
    times = sorted(one.ms for one in asked)
    return {
        "r10": mean(one.r10 for one in asked),
        "r5": mean(one.r5 for one in asked),
        "mrr": mean(one.mrr for one in asked),
        "tokens": mean(one.tokens for one in asked),
        **{f"r10_{kind}": mean(values) for kind, values in sorted(kinds.items())},
        "questions": len(asked),
        "ask_p50_ms": times[len(times) // 2],
    }


def main() -> int:
    parser = options_of(
        "locomo", __doc__, quick="the first conversation only", data="folder with locomo/locomo_dev.json, or the file"
    )
    options = parser.parse_args()
    data = options.data or os.environ.get("SIDECAR_BENCH_DATA")
    if not data:
        parser.error("expected --data; the conversations come from github.com/snap-research/LoCoMo (CC BY-NC 4.0)")
    file = Path(data) / "locomo" / "locomo_dev.json" if Path(data).is_dir() else Path(data)
    system = System()
    asked = list(answers(system, file, most=1 if options.quick else None))
    system.close()
    notes = "without embeddings" if system.store.embeddings is None else ""
    return report("locomo", figures(asked), TARGETS, notes=notes, only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
