"""Which governed call a piece of code belongs to: by its context, and by the thread or asyncio task it runs in."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

from governance.call import Call

CURRENT: contextvars.ContextVar[Call | None] = contextvars.ContextVar("sidecar_call", default=None)


def current_call() -> Call | None:
    """The innermost governed call of this code, also in threads it started and in contexts it made up."""
    call = CURRENT.get()
    if call is None and _places:
        call = _places.get(threading.get_ident()) or _places.get(_here())
    return call


class setting:
    """Gives a context variable a value for a while."""

    __slots__ = ("name", "token", "value")

    def __init__(self, name: contextvars.ContextVar[Any], value: Any) -> None:
        self.name = name
        self.value = value

    def __enter__(self) -> None:
        self.token = self.name.set(self.value)

    def __exit__(self, *error: object) -> None:
        self.name.reset(self.token)


Mark = tuple[int, Call | None]


def mark_place(call: Call) -> Mark:
    """Bind this thread, or this asyncio task, to a call: a second net beside the context, which code can leave."""
    place = _here()
    before = _places.get(place)
    _places[place] = call
    return place, before


def unmark_place(mark: Mark) -> None:
    place, before = mark
    if before is None:
        _places.pop(place, None)
    else:
        _places[place] = before


def _here() -> int:
    """The asyncio task that runs here, as a negative number, or else the thread."""
    loop = asyncio._get_running_loop()  # the public way raises where there is none, which costs ten times as much
    task = asyncio.current_task(loop) if loop is not None else None
    return threading.get_ident() if task is None else -id(task)


_places: dict[int, Call] = {}
"""Every mark is taken back before its task or thread ends, so that no number stands for two of them."""
