"""SIGKILL in the middle of writes: whatever `put` had returned from is there, and every index agrees with the items."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from langgraph.store.base import PutOp

from memory import TieredStore

BATCH = 5
DIMS = 16


def embed(texts: list[str]) -> list[list[float]]:
    """Letters, counted: this benchmark asks what survives, not what it means."""
    return [[float(zlib.crc32(f"{text}{n}".encode()) % 97) for n in range(DIMS)] for text in texts]


def opened(file: Path) -> TieredStore:
    """With so small a limit that every scope is in the approximate index."""
    index: Any = {"embed": embed, "dims": DIMS, "fields": ["text"]}
    return TieredStore(file, index=index, exact=2)


def write(file: Path, run: int) -> None:
    """Put batches until killed, and say after each that it is there: new items, updates of old ones, deletions."""
    with opened(file) as store:
        n = 0
        while True:
            new = [PutOp((f"scope{n % 3}",), f"{run}-{n}-{i}", {"text": f"item {run} {n} {i}"}) for i in range(BATCH)]
            again = PutOp((f"scope{n % 3}",), "updated", {"text": f"update {run} {n}"})
            gone = PutOp((f"scope{n % 3}",), f"{run}-{n - 3}-0", None)
            store.batch([*new, again, gone])
            print(n, flush=True)
            n += 1


def kills(folder: Path, times: int) -> dict[str, float]:
    """So many kills, each after a random while; then the counts of what was lost, and of indexes that disagree."""
    folder.mkdir(parents=True, exist_ok=True)
    file, rng = folder / "memory.db", random.Random(13)
    lost = unequal = acknowledged = 0
    for run in range(times):
        last = _killed(file, run, rng)
        with opened(file) as store:
            assert store._chroma is not None
            store._chroma.settle()
            lost += len(_expected(run, last) - _present(store, run))
            unequal += len(store._chroma.differences()) + _disagreeing(store)
        acknowledged += (last + 1) * (BATCH + 2)
    return {"kills": times, "acknowledged": acknowledged, "lost": lost, "unequal": unequal}


def _killed(file: Path, run: int, rng: random.Random) -> int:
    """Start a writer, kill it a while after it has begun; the last batch that it was told of as written."""
    command = [sys.executable, "-m", "benchmarks.memory_kills", str(file), str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(rng.random() * 0.6)
        writer.send_signal(signal.SIGKILL)
        rest = [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return int(rest[-1]) if rest else 0


def _expected(run: int, last: int) -> set[str]:
    written = {f"{run}-{n}-{i}" for n in range(last + 1) for i in range(BATCH)}
    # The batch after the last may or may not have been written, and with it one more deletion.
    return written - {f"{run}-{n}-0" for n in range(last - 1)}


def _present(store: TieredStore, run: int) -> set[str]:
    with store._database.reading() as db:
        return {str(key) for (key,) in db.execute("SELECT key FROM items WHERE key LIKE ?", (f"{run}-%",))}


def _disagreeing(store: TieredStore) -> int:
    """Items without their words or their vector, and words or vectors without their item."""
    with store._database.reading() as db:
        return sum(
            int(db.execute(f"SELECT count(*) FROM {query}").fetchone()[0])
            for query in (
                "items WHERE id NOT IN (SELECT item FROM words)",
                "items WHERE id NOT IN (SELECT item FROM vectors)",
                "words WHERE item NOT IN (SELECT id FROM items)",
                "vectors WHERE item NOT IN (SELECT id FROM items)",
                "outbox",
            )
        )


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
