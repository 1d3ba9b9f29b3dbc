"""Drives a graph on checkpoints that outlive the process."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from governance.cli.exits import Code, Failure
from governance.cli.progress import View

FOLLOWED: dict[str, Any] = {"stream_mode": ["tasks"], "subgraphs": True, "durability": "sync"}
"""Tasks as they begin and end, in nested graphs too; each step's checkpoint is on disk before the next."""

Leave = Callable[[int, FrameType | None], None]


@dataclass(frozen=True, slots=True)
class End:
    """Where a run came to rest: its state, the questions it asks, and the nodes that would run next."""

    state: Any
    questions: tuple[dict[str, Any], ...]
    waits: bool


def durable(graph: Any, wanted: Path | None, default: Path) -> Path | None:
    """The SQLite file to keep checkpoints in; None where the graph keeps durable ones itself."""
    own = graph.checkpointer
    if wanted is None and isinstance(own, BaseCheckpointSaver) and not isinstance(own, InMemorySaver):
        return None
    return wanted or default


async def drive(
    graph: Any, start: Any, thread: str, *, saver: Path | None, resumes: bool, view: View, leave: Leave
) -> End:
    """Run until the graph ends or asks; raises what the graph raises. `leave` is for a second Ctrl-C."""
    config = {"configurable": {"thread_id": thread}}
    unknown = Failure(
        f"thread {thread!r} has no checkpoint in {saver or 'the checkpointer of the graph'}; "
        "check --thread and --checkpoint"
    )
    if resumes and saver is not None and not await asyncio.to_thread(saver.exists):
        raise unknown
    async with _with_saver(graph, saver) as bound:
        blocking = await _is_blocking(bound, config)
        if resumes and (await _state(bound, config, blocking)).created_at is None:
            raise unknown
        await _followed(bound, start, config, blocking=blocking, view=view, leave=leave)
        after = await _state(bound, config, blocking)
    questions = tuple({"id": i.id, "value": i.value} for i in after.interrupts)
    return End(after.values, questions, bool(after.next))


async def _followed(graph: Any, start: Any, config: Any, *, blocking: bool, view: View, leave: Leave) -> None:
    ended = threading.Event()
    try:
        if blocking:
            await asyncio.to_thread(_stream, graph, start, config, view, ended)
            return
        async for place, _, piece in graph.astream(start, config, **FOLLOWED):
            view.see(place, piece)
    except asyncio.CancelledError:
        ended.set()
        signal.signal(signal.SIGINT, leave)  # asyncio would wait for the node's thread before it ends
        view.say("interrupted; waiting for the step that runs (Ctrl-C again leaves at once)")
        raise


def _stream(graph: Any, start: Any, config: Any, view: View, ended: threading.Event) -> None:
    with closing(graph.stream(start, config, **FOLLOWED)) as pieces:
        for place, _, piece in pieces:
            if ended.is_set():
                return
            view.see(place, piece)


@asynccontextmanager
async def _with_saver(graph: Any, file: Path | None) -> AsyncIterator[Any]:
    if file is None:
        yield graph
        return
    try:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    except ImportError:
        raise Failure(
            "checkpoints on disk need langgraph-checkpoint-sqlite; pip install 'langgraph-sidecar[server]'"
        ) from None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = AsyncSqliteSaver.from_conn_string(str(file))
        saver = await opened.__aenter__()
        await saver.setup()
    except Exception as error:
        raise Failure(
            f"no checkpoints can be kept in {file}: {error}; name another --checkpoint", Code.FAILED
        ) from error
    try:
        yield graph.copy({"checkpointer": saver})
    finally:
        await opened.__aexit__(None, None, None)


async def _is_blocking(graph: Any, config: Any) -> bool:
    """Whether the graph's own checkpointer serves only sync code (`SqliteSaver`, `PostgresSaver`)."""
    try:
        await graph.checkpointer.aget_tuple(config)
    except NotImplementedError:  # so says a saver that has only the sync half
        return True
    return False


async def _state(graph: Any, config: Any, blocking: bool) -> Any:
    return await asyncio.to_thread(graph.get_state, config) if blocking else await graph.aget_state(config)
