"""Keeps the asyncio tasks that a node makes with a context of their own inside its boundary.

A task without one inherits the node's context, and the call with it. Loops that are not Python's own,
like uvloop, and `call_soon(..., context=)` are not seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from governance.call import Call
from governance.current import CURRENT, current_call, mark_place, unmark_place
from governance.likeness import like


def install() -> None:
    """Patch what makes tasks; nothing new happens where the context already carries a call, or nobody is in one."""
    create = asyncio.BaseEventLoop.create_task

    @like(create)
    def governed(self: asyncio.BaseEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        context = options.get("context")
        if context is not None and context.get(CURRENT) is None and asyncio.iscoroutine(coro):
            call = current_call()
            if call is not None:
                coro = _part_of(call, coro)
        return create(self, coro, **options)

    asyncio.BaseEventLoop.create_task = governed  # type: ignore[method-assign]  # patched for all


async def _part_of(call: Call, work: Coroutine[Any, Any, Any]) -> Any:
    """`work` in a task that is known to be a part of `call`, whatever its context says."""
    mark = mark_place(call)
    try:
        return await work
    finally:
        unmark_place(mark)
