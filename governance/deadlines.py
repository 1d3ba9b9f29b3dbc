"""How long a call may take: what cannot be interrupted is left behind, and can start nothing more."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from typing import Any

from governance.call import Proceed
from governance.current import mark_place, unmark_place
from governance.errors import DeadlineExceeded, Refusal


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
        raise deadline.refusal()
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
        late = deadline.refusal()
        task.cancel()  # not awaited: code that swallows the cancellation must not hold the run
        raise late from (task.exception() if finished and not task.cancelled() else None)
    return task.result()


class _Deadline:
    """Tells late from in time by the clock: code that blocks its loop is late before any timer can say so."""

    def __init__(self, effect: Proceed) -> None:
        self.effect = effect
        self.started = time.monotonic()
        self.missed = False

    def ended(self) -> None:
        self.missed = time.monotonic() - self.started > (self.effect.within or 0.0)

    def refusal(self) -> Refusal:
        node, within = self.effect.call.node, self.effect.within
        return node.refuse(DeadlineExceeded(f"{node.place} took longer than {within} s", seconds=within))
