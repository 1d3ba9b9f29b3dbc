"""Many threads and one event loop on one store: nothing is lost, nothing is torn, and the loop is never blocked."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from blockbuster import blockbuster_ctx

from memory import AsyncTieredStore, TieredStore


def test_threads_that_write_and_search_at_once_see_whole_items(store: TieredStore) -> None:
    def work(n: int) -> int:
        for m in range(10):
            store.put(("a", str(n % 2)), f"{n}-{m}", {"text": f"boat {n} {m}", "twice": [n, n]})
        found = store.search(("a",), query=f"boat {n}", limit=100)
        return sum(one.value["twice"][0] != one.value["twice"][1] for one in found)

    with ThreadPoolExecutor(8) as pool:
        torn = sum(pool.map(work, range(8)))

    assert (0, 80) == (torn, len(store.search(("a",), limit=200)))


def test_nothing_blocks_the_event_loop(file: Path, index: Any) -> None:
    async def main() -> int:
        store = await asyncio.to_thread(TieredStore, file, index=index)
        async with AsyncTieredStore(store) as asynchronous:
            with blockbuster_ctx("memory"):
                await asynchronous.aput(("a",), "k", {"text": "a boat"})
                await store.aput(("a",), "m", {"text": "a boat too"})
                found = await asynchronous.asearch(("a",), query="boat")
                await store.arecall(("a",), "boat")
        return len(found)

    assert 2 == asyncio.run(main())
