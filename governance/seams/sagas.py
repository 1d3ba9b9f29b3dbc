"""Seam 5, runs: both ends of an outermost run whose effects can be taken back."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from langgraph._internal._constants import CONFIG_KEY_THREAD_ID

from governance import saga_runs
from governance.runs import End
from governance.saga_runs import Ending
from governance.seams.graphs import governance_of
from governance.seams.identity import session_of

if TYPE_CHECKING:
    from governance.sidecar import Governance

_ENDING: contextvars.ContextVar[Ending | None] = contextvars.ContextVar("sidecar_ending", default=None)
KNOWN = "sidecar_ending"
"""Where a run of LangGraph's keeps what is to be told of its end."""
OVER = object()


def saga_of(graph: Any) -> Governance | None:
    """Whose policy takes back what this graph does when it fails; None for most graphs."""
    governance = governance_of(graph)
    return governance if governance is not None and governance.enforcing and governance.policy.saga else None


def expects() -> bool:
    """Whether the run that begins here is the outermost one of a saga."""
    ending = _ENDING.get()
    return ending is not None and ending.session is None


def began(loop: Any, session: str) -> None:
    """The run has come to its first step."""
    ending = _ENDING.get()
    assert ending is not None
    ending.session = session
    setattr(loop, KNOWN, ending)


def knows(loop: Any) -> bool:
    return hasattr(loop, KNOWN)


def rested(loop: Any, end: End) -> None:
    getattr(loop, KNOWN).end = end


def stream(
    governance: Governance, conf: Mapping[str, Any], given: Any, named: bool, run: Callable[[], Iterator[Any]]
) -> Iterator[Any]:
    """A run, with what comes before and after it."""
    ending = Ending()
    if (thread := _thread(conf)) is not None:
        saga_runs.before(governance, thread, given, named=named)
    try:
        with closing(run()) as pieces:  # type: ignore[type-var]  # LangGraph's streams are generators
            token = _ENDING.set(ending)
            try:
                piece = next(pieces, OVER)
            finally:
                _ENDING.reset(token)
            while piece is not OVER:
                yield piece
                piece = next(pieces, OVER)
    except Exception as error:
        saga_runs.after(governance, ending, error)
        raise
    saga_runs.after(governance, ending, None)


async def astream(
    governance: Governance, conf: Mapping[str, Any], given: Any, named: bool, run: Callable[[], AsyncIterator[Any]]
) -> AsyncIterator[Any]:
    """`stream` for async code."""
    ending = Ending()
    if (thread := _thread(conf)) is not None:
        await asyncio.to_thread(saga_runs.before, governance, thread, given, named=named)
    try:
        async with aclosing(run()) as pieces:  # type: ignore[type-var]  # LangGraph's streams are generators
            token = _ENDING.set(ending)
            try:
                piece = await anext(pieces, OVER)
            finally:
                _ENDING.reset(token)
            while piece is not OVER:
                yield piece
                piece = await anext(pieces, OVER)
    except Exception as error:
        await asyncio.to_thread(saga_runs.after, governance, ending, error)
        raise
    await asyncio.to_thread(saga_runs.after, governance, ending, None)


def _thread(conf: Mapping[str, Any]) -> str | None:
    """The session of a run that has one before it begins."""
    return None if conf.get(CONFIG_KEY_THREAD_ID) is None else session_of(conf, None)
