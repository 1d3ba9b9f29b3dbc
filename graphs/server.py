"""Where `langgraph dev` keeps what must outlive it: checkpoints and the store, in SQLite files under `.sidecar/`.

`langgraph.json` names `checkpointer` and `store`. Both work through aiosqlite's own thread, so nothing
blocks the server's event loop. `SIDECAR_CHECKPOINTS` and `SIDECAR_STORE` name other files.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.sqlite.aio import AsyncSqliteStore

CHECKPOINTS = ".sidecar/checkpoints.db"
STORE = ".sidecar/store.db"
BUSY_SECONDS = 30.0

DELETE_RUN_WRITES = """
DELETE FROM writes WHERE (thread_id, checkpoint_ns, checkpoint_id) IN (
    SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE json_extract(metadata, '$.run_id') = ?)
"""
DELETE_RUN_CHECKPOINTS = "DELETE FROM checkpoints WHERE json_extract(metadata, '$.run_id') = ?"
COPY_CHECKPOINTS = """
INSERT OR REPLACE INTO checkpoints
    (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
SELECT :target, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint,
    json_replace(metadata, '$.thread_id', :target)
FROM checkpoints WHERE thread_id = :source
"""
COPY_WRITES = """
INSERT OR REPLACE INTO writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)
SELECT :target, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value
FROM writes WHERE thread_id = :source
"""
USES_DELTAS = """
SELECT 1 FROM checkpoints WHERE thread_id = ? AND (
    json_type(metadata, '$.counters_since_delta_snapshot') IS NOT NULL
    OR json_type(metadata, '$.delta_writes_versioned') IS NOT NULL) LIMIT 1
"""
DELETE_OLD = """
DELETE FROM {0} WHERE thread_id = ? AND checkpoint_id < (
    SELECT MAX(checkpoint_id) FROM checkpoints AS newest
    WHERE newest.thread_id = {0}.thread_id AND newest.checkpoint_ns = {0}.checkpoint_ns)
"""
DELETE_OLD_WRITES, DELETE_OLD_CHECKPOINTS = DELETE_OLD.format("writes"), DELETE_OLD.format("checkpoints")
ORPHAN = "UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE thread_id = ?"


class ServerSaver(AsyncSqliteSaver):
    """LangGraph's SQLite saver with what a server asks for besides: rollback of runs, copies, pruning."""

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs wrote; `rollback` needs it."""
        runs = [(str(run),) for run in run_ids]
        await self._transact(
            [(DELETE_RUN_WRITES, run) for run in runs] + [(DELETE_RUN_CHECKPOINTS, run) for run in runs]
        )

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with its whole history and what is pending in it."""
        names = {"source": str(source_thread_id), "target": str(target_thread_id)}
        await self._transact([(COPY_CHECKPOINTS, names), (COPY_WRITES, names)])

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete the history of threads, or with another strategy than `keep_latest` all of them.

        Raises `NotImplementedError` for a thread whose state is rebuilt from its history (`DeltaChannel`).
        """
        if strategy not in ("keep_latest", "delete", "delete_all"):
            raise ValueError(f"strategy must be 'keep_latest', 'delete' or 'delete_all', not {strategy!r}")
        for thread in map(str, thread_ids):
            if strategy != "keep_latest":
                await self.adelete_thread(thread)
                continue
            if await self._uses_deltas(thread):
                raise NotImplementedError(f"thread {thread} uses a DeltaChannel: its history cannot be pruned")
            await self._transact(
                [(DELETE_OLD_WRITES, (thread,)), (DELETE_OLD_CHECKPOINTS, (thread,)), (ORPHAN, (thread,))]
            )

    async def _uses_deltas(self, thread: str) -> bool:
        await self.setup()
        async with self.lock, self.conn.execute(USES_DELTAS, (thread,)) as found:
            return await found.fetchone() is not None

    async def _transact(self, statements: Sequence[tuple[str, Any]]) -> None:
        await self.setup()
        async with self.lock:
            try:
                for sql, values in statements:
                    await self.conn.execute(sql, values)
                await self.conn.commit()
            except BaseException:
                await self.conn.rollback()
                raise


@asynccontextmanager
async def checkpointer() -> AsyncIterator[ServerSaver]:
    """The server's checkpoints, open for as long as it runs."""
    path = await _place("SIDECAR_CHECKPOINTS", CHECKPOINTS)
    async with aiosqlite.connect(path, timeout=BUSY_SECONDS) as connection:
        saver = ServerSaver(connection)
        await saver.setup()
        yield saver


@asynccontextmanager
async def store() -> AsyncIterator[AsyncSqliteStore]:
    """The server's long-term store, open for as long as it runs."""
    async with AsyncSqliteStore.from_conn_string(await _place("SIDECAR_STORE", STORE)) as opened:
        await opened.setup()
        yield opened


async def _place(variable: str, otherwise: str) -> str:
    path = Path(os.environ.get(variable) or otherwise)
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    return str(path)
