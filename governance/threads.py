"""Carries the current call into threads that a node starts, so that they stay inside its boundary.

A bare thread begins with an empty context and would otherwise be outside of every contract. Threads
of exporters and of thread pools are left alone: they serve more than the call that started them, and
work handed to a pool brings its own context.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from governance.boundary import CURRENT, current_call, mark_thread

SERVING = ("langsmith", "opentelemetry", "concurrent", "anyio", "governance", "chromadb", "posthog")


def install() -> None:
    """Patch `Thread.start` and `ThreadPoolExecutor.submit`; both do nothing new outside a governed call."""
    start = threading.Thread.start
    submit = ThreadPoolExecutor.submit

    @functools.wraps(start)
    def governed_start(self: threading.Thread) -> None:
        call = current_call()
        if call is not None and not _serves(self):
            mark_thread(self, call)
        start(self)

    @functools.wraps(submit)
    def governed_submit(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        call = current_call()
        if call is None:
            return submit(self, fn, *args, **kwargs)
        context = contextvars.copy_context()
        context.run(CURRENT.set, call)
        return submit(self, context.run, fn, *args, **kwargs)

    threading.Thread.start = governed_start  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = governed_submit  # type: ignore[method-assign]


def _serves(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    module = getattr(target, "__module__", None) or type(thread).__module__
    return str(module).partition(".")[0] in SERVING
