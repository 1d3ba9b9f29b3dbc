"""Carries the current call into threads and pools that a node uses, so that they stay inside its boundary.

A bare thread begins with an empty context and would otherwise be outside of every contract. Threads of
exporters and of thread pools are left alone: they serve more than the call that started them; the work
that a node hands to a pool takes the call along instead.
"""

from __future__ import annotations

import _thread
import contextvars
import inspect
import multiprocessing.pool
import multiprocessing.process
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from governance import connections
from governance.call import Call, ToolCall
from governance.current import CURRENT, current_call, mark_place, unmark_place
from governance.deadlines import note_work
from governance.likeness import like

SERVING = ("langsmith", "opentelemetry", "concurrent", "anyio", "governance", "chromadb", "posthog", "multiprocessing")


def install() -> None:
    """Patch what starts threads and what hands work to pools; nothing new happens outside a governed call."""
    _patch_threads()
    _patch_pools()


def carried(call: Call, work: Callable[..., Any]) -> Callable[..., Any]:
    """`work` as a part of `call`, in whatever thread and context it runs."""

    def run(*args: Any, **kwargs: Any) -> Any:
        token, mark = CURRENT.set(call), mark_place(call)
        try:
            return work(*args, **kwargs)
        finally:
            unmark_place(mark)
            CURRENT.reset(token)

    return run


def _patch_threads() -> None:
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    @like(start)
    def governed_start(self: threading.Thread) -> None:
        call = current_call()
        if call is not None and not _serves(self):
            self.run = carried(call, self.run)  # type: ignore[method-assign]  # this thread's alone
        start(self)

    @like(submit)
    def governed_submit(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        call = current_call()
        if call is None:
            return submit(self, fn, *args, **kwargs)
        future = submit(self, contextvars.copy_context().run, carried(call, fn), *args, **kwargs)
        if isinstance(call, ToolCall):
            note_work(call, future)
        return future

    bare = _thread.start_new_thread

    @like(bare)
    def governed_bare(function: Any, args: Any, *kwargs: Any) -> int:
        call = current_call()
        return bare(function if call is None else carried(call, function), args, *kwargs)

    for owner, name, worked in (
        (Future, "add_done_callback", ("fn",)),
        (ThreadPoolExecutor, "__init__", ("initializer",)),
        (multiprocessing.pool.ThreadPool, "__init__", ("initializer",)),
    ):
        setattr(owner, name, _handing_over(getattr(owner, name), worked))
    _thread.start_new_thread = governed_bare
    threading.Thread.start = governed_start  # type: ignore[method-assign]  # patched for all
    ThreadPoolExecutor.submit = governed_submit  # type: ignore[method-assign,assignment]  # its types give way to Any


def _patch_pools() -> None:
    begin, hand_over = multiprocessing.process.BaseProcess.start, ProcessPoolExecutor.submit
    pool = multiprocessing.pool.Pool

    @like(begin)
    def governed_begin(self: Any) -> None:
        connections.judge_process(f"multiprocessing {self.name}")
        begin(self)

    @like(hand_over)
    def governed_hand_over(self: ProcessPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        connections.judge_process(f"a process pool ({getattr(fn, '__qualname__', fn)})")
        return hand_over(self, fn, *args, **kwargs)

    multiprocessing.process.BaseProcess.start = governed_begin  # type: ignore[method-assign]  # patched for all
    ProcessPoolExecutor.submit = governed_hand_over  # type: ignore[method-assign,assignment]  # its types give way to Any
    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        setattr(pool, name, _pooled(getattr(pool, name)))


def _pooled(original: Callable[..., Any]) -> Callable[..., Any]:
    called_back = _handing_over(original, ("callback", "error_callback"))  # here, also when processes do the work
    threaded = _handing_over(original, ("func", "callback", "error_callback"))

    @like(original)
    def governed(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, multiprocessing.pool.ThreadPool):
            return threaded(self, func, *args, **kwargs)
        connections.judge_process(f"a process pool ({getattr(func, '__qualname__', func)})")
        return called_back(self, func, *args, **kwargs)

    return governed


def _handing_over(original: Callable[..., Any], worked: tuple[str, ...]) -> Callable[..., Any]:
    """A method whose arguments of these names some thread will call: as a part of the call that handed them over."""
    signature = inspect.signature(original)

    @like(original)
    def governed(*args: Any, **kwargs: Any) -> Any:
        call = current_call()
        if call is None:
            return original(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        for name in worked:
            if callable(given.arguments.get(name)):
                given.arguments[name] = carried(call, given.arguments[name])
        return original(*given.args, **given.kwargs)

    return governed


def _serves(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    module = getattr(target, "__module__", None) or type(thread).__module__
    return str(module).partition(".")[0] in SERVING
