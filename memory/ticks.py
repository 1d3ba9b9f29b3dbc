"""The store for one event loop: what its tasks ask for in one tick is one batch, so many writes make one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future

from langgraph.store.base import Op, Result
from langgraph.store.base.batch import AsyncBatchedBaseStore

from memory.tiers import TieredStore


class AsyncTieredStore(AsyncBatchedBaseStore):
    """A `TieredStore` seen from the event loop it was made on; synchronous calls there are refused."""

    supports_ttl = True

    def __init__(self, store: TieredStore) -> None:
        super().__init__()
        self.store = store
        self.ttl_config = store.ttl_config
        self.index_config = store.index_config

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await self.store.abatch(ops)

    async def setup(self) -> None:
        """Nothing is left to do: opening sets up."""

    async def sweep_ttl(self) -> int:
        """Delete what has expired; how many items that were."""
        return await asyncio.to_thread(self.store.sweep_ttl)

    async def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> Future[None]:
        """Sweep every so often in a thread; cancelling the future stops it."""
        return self.store.start_ttl_sweeper(sweep_interval_minutes)

    async def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop the thread; whether it has ended within the timeout."""
        return await asyncio.to_thread(self.store.stop_ttl_sweeper, timeout)

    async def aclose(self) -> None:
        await asyncio.to_thread(self.store.close)

    async def __aenter__(self) -> AsyncTieredStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
