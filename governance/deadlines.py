"""How long a call may take: what cannot be interrupted is left behind, and can start nothing more."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import aclosing
from typing import Any
from weakref import WeakValueDictionary

from governance.call import Call, Proceed
from governance.current import mark_place, unmark_place
from governance.errors import DeadlineExceeded

Rest = Future[Any] | asyncio.Task[Any]
"""Work that nobody waits for any more."""


def rest_of(call: Call) -> Rest | None:
    """What a deadline cut off of a call: it may still go on, or have ended late."""
    return _LEFT.get(call.execution)


def threads_of(call: Call) -> list[Rest]:
    """What a tool handed to a pool of threads and has not ended: no cancellation reaches it."""
    return [work for work, execution in list(_AT_WORK.items()) if execution == call.execution and not work.done()]


def note_work(call: Call, work: Future[Any]) -> None:
    """A tool hands work to a pool of threads."""
    _AT_WORK[work] = call.execution
    work.add_done_callback(_AT_WORK.pop)


def bounded(effect: Proceed, perform: Callable[[Any], Any]) -> Any:
    """Wait no longer than allowed; a thread that goes on is refused whatever it tries to start."""
    done: Future[Any] = Future()
    context, deadline = contextvars.copy_context(), _Deadline(effect)

    def work() -> None:
        mark = mark_place(effect.call)
        try:
            value = context.run(perform, effect.call)
        except BaseException as error:
            deadline.ended()
            done.set_exception(error)
        else:
            deadline.ended()
            done.set_result(value)
        finally:
            unmark_place(mark)

    threading.Thread(target=work, name=f"sidecar-{effect.call.name}", daemon=True).start()
    finished, _ = wait((done,), effect.within)
    if not finished or deadline.missed:
        raise deadline.error(done)
    return done.result()


async def abounded(effect: Proceed, perform: Callable[[Any], Awaitable[Any]]) -> Any:
    deadline = _Deadline(effect)

    async def work() -> Any:
        mark = mark_place(effect.call)
        try:
            return await perform(effect.call)
        finally:
            unmark_place(mark)
            deadline.ended()

    task = asyncio.ensure_future(work())
    try:
        finished, _ = await asyncio.wait((task,), timeout=effect.within)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not finished or deadline.missed:
        late = deadline.error(task)
        task.cancel()  # not awaited: code that swallows the cancellation must not hold the run
        task.add_done_callback(_looked_at)
        raise late from (task.exception() if finished and not task.cancelled() else None)
    return task.result()


def bounded_pieces(effect: Proceed, pieces: Iterator[Any]) -> Iterator[Any]:
    """A stream that may keep its reader waiting for so long in all; a silent one is noticed when it speaks again."""
    return pieces if effect.within is None else _in_time(effect, effect.within, pieces)


def abounded_pieces(effect: Proceed, pieces: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """`bounded_pieces` for async code, where a silent stream is cut off."""
    return pieces if effect.within is None else _ain_time(effect, effect.within, pieces)


def _in_time(effect: Proceed, left: float, pieces: Iterator[Any]) -> Iterator[Any]:
    while True:
        began = time.monotonic()
        piece = next(pieces, END)
        left -= time.monotonic() - began
        if left < 0:
            raise _Deadline(effect).error(None)
        if piece is END:
            return
        yield piece


async def _ain_time(effect: Proceed, left: float, pieces: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    async with aclosing(pieces):
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(left) as scope:
                    piece = await anext(pieces, END)
            except TimeoutError as error:
                if scope.expired():
                    raise _Deadline(effect).error(None) from error
                raise
            left -= time.monotonic() - began
            if left < 0:
                raise _Deadline(effect).error(None)
            if piece is END:
                return
            yield piece


class _Deadline:
    """Tells late from in time by the clock: code that blocks its loop is late before any timer can say so."""

    def __init__(self, effect: Proceed) -> None:
        self.effect = effect
        self.started = time.monotonic()
        self.missed = False

    def ended(self) -> None:
        self.missed = time.monotonic() - self.started > (self.effect.within or 0.0)

    def error(self, rest: Rest | None) -> Exception:
        """What its caller is told; whoever stands around it finds out what was left behind."""
        effect = self.effect
        if rest is not None:
            _LEFT[effect.call.execution] = rest
        if effect.late is not None:
            return effect.late()
        node, within = effect.call.node, effect.within
        return node.refuse(DeadlineExceeded(f"{node.place} took longer than {within} s", seconds=within))


def _looked_at(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for is not to be complained about."""
    if not task.cancelled():
        task.exception()


END = object()
_AT_WORK: dict[Future[Any], str] = {}
_LEFT: WeakValueDictionary[str, Rest] = WeakValueDictionary()
"""By execution; a thread or a loop keeps its own alive while it runs, and an error on its way up does so after that."""
