"""What memory costs and what it survives: recall over 100 scopes, the approximate index, facts, embedding, kills.

Recall is measured without embedding: the query's vector is given. Vectors are random, the hardest case for the index.
`--quick` has a tenth of the items and of the kills, and the facts of 100,000 edges.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from langgraph.store.base import PutOp
from numpy.typing import NDArray

from benchmarks.memory_kills import kills
from benchmarks.options import options_of
from benchmarks.report import Target, report
from memory import EmbeddingUnavailable, MiniLM, TieredStore

TARGETS = {
    "recall_p50_ms": Target(15),
    "recall_p95_ms": Target(50),
    "ann_recall": Target(0.95, "at least"),
    "twohop_p95_ms": Target(5),
    "embed_ms": Target(10),
    "lost": Target(0),
    "unequal": Target(0),
}
DIMS = 384
SCOPES = 100
WORDS = 3_000
PAGE = 1_000


class Given:
    """An embedding model that is told beforehand what each text means."""

    model = "given"

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [vector.tolist() for vector in directions(self.rng, len(texts))]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def directions(rng: np.random.Generator, many: int) -> NDArray[np.float32]:
    """Random vectors of length one."""
    vectors = rng.normal(size=(many, DIMS)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def index() -> Any:
    given = Given()
    return {"embed": lambda texts: given.embed_documents(texts), "dims": DIMS, "fields": ["text"]}


def sentence(rng: random.Random) -> str:
    """Words as rare and as common as in a language."""
    return " ".join(f"word{int(WORDS * rng.random() ** 3)}" for _ in range(15))


def recall(folder: Path, items: int) -> dict[str, float]:
    """Recall in scopes of a thousand, each of them asked in turn, so that nothing is fresh from the last question."""
    rng = random.Random(3)
    with TieredStore(folder / "recall.db", index=index()) as store:
        started = time.perf_counter()
        for scope in range(SCOPES):
            store.batch(
                [
                    PutOp(
                        (f"user{scope}",), str(n), {"text": sentence(rng), "session": str(n // 20), "at": "2024-03-01"}
                    )
                    for n in range(items // SCOPES)
                ]
            )
        written = time.perf_counter() - started
        for scope in range(SCOPES):
            store.search((f"user{scope}",), query="warm up", limit=10)
        questions = [(f"user{n * 37 % SCOPES}", "when did " + sentence(rng)) for n in range(300)]
        assert store._vectors is not None
        store._vectors.queries([text for _, text in questions])  # known beforehand: embedding is measured by itself
        wall, cpu = timed([lambda s=scope, q=text: store.search((s,), query=q, limit=10) for scope, text in questions])
    return {
        "recall_p50_ms": percentile(wall, 50),
        "recall_p95_ms": percentile(wall, 95),
        "recall_p95_cpu_ms": percentile(cpu, 95),
        "writes_per_s": items / written,
    }


def nearest(folder: Path, vectors: int) -> dict[str, float]:
    """How many of the ten nearest the approximate index finds in one scope of this size."""
    rng = np.random.default_rng(5)
    made = directions(rng, vectors)
    texts = [f"number {n}" for n in range(vectors)]
    with TieredStore(folder / "nearest.db", index=index(), exact=100) as store:
        for start in range(0, vectors, PAGE):
            page = texts[start : start + PAGE]
            given = {text: made[start + n].tobytes() for n, text in enumerate(page)}
            store._write(store._plan([PutOp(("a",), text, {"text": text}) for text in page]).drafts, given)
        chroma = store._chroma
        assert chroma is not None
        chroma.settle()
        hits, times = 0, list[float]()
        for query in directions(rng, 100):
            wanted = set((np.argsort(-(made @ query))[:10] + 1).tolist())
            started = time.perf_counter()
            found = chroma(1, query, 10)
            times.append((time.perf_counter() - started) * 1e3)
            hits += len(wanted & set(found or []))
    return {"ann_recall": hits / 1_000, "ann_p50_ms": percentile(times, 50)}


def twohop(folder: Path, edges: int) -> dict[str, float]:
    """The neighbourhood of a name, two facts deep, where each name has eight facts."""
    rng = random.Random(9)
    with TieredStore(folder / "facts.db") as store:
        with store._database.writing() as db:
            db.execute("INSERT INTO scopes(id, namespace) VALUES(1, 'a.')")
            names = edges // 4
            db.executemany(
                "INSERT INTO facts(scope, subject, relation, object, valid_at, recorded_at, sources)"
                " VALUES(1, ?, 'knows', ?, 0, 0, '[]')",
                ((f"n{rng.randrange(names)}", f"n{rng.randrange(names)}") for _ in range(edges)),
            )
        seeds = [f"n{rng.randrange(names)}" for _ in range(300)]
        store.facts.around(("a",), ["n1"])
        wall, cpu = timed([lambda s=seed: store.facts.around(("a",), [s]) for seed in seeds])
    return {"twohop_p95_ms": percentile(wall, 95), "twohop_p95_cpu_ms": percentile(cpu, 95), "edges": edges}


def embedding() -> dict[str, float | None]:
    """CPU time of one question, embedded by itself."""
    try:
        model = MiniLM()
    except EmbeddingUnavailable as missing:
        print(f"memory: {missing}", file=sys.stderr)
        return {"embed_ms": None}
    model.embed_query("warm up")
    started = time.process_time()
    for n in range(50):
        model.embed_query(f"When did Caroline go to the support group for the {n}th time?")
    return {"embed_ms": (time.process_time() - started) / 50 * 1e3}


def timed(calls: Sequence[Callable[[], object]]) -> tuple[list[float], list[float]]:
    """Milliseconds of each call: by the clock, and of this thread's CPU, which a busy machine does not stretch."""
    wall, cpu = list[float](), list[float]()
    for call in calls:
        clock, mine = time.perf_counter(), time.thread_time()
        call()
        wall.append((time.perf_counter() - clock) * 1e3)
        cpu.append((time.thread_time() - mine) * 1e3)
    return wall, cpu


def percentile(times: Sequence[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


def main() -> int:
    parser = options_of("memory", __doc__, quick="a tenth of the items, edges and kills", data="not used")
    options = parser.parse_args()
    quick = bool(options.quick)
    with TemporaryDirectory() as name:
        folder = Path(name)
        figures: dict[str, float | None] = {
            **recall(folder, 10_000 if quick else 100_000),
            **nearest(folder, 2_000 if quick else 10_000),
            **twohop(folder, 100_000 if quick else 1_000_000),
            **embedding(),
            **kills(folder / "kills", 5 if quick else 50),
        }
    return report("memory", figures, TARGETS, only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
