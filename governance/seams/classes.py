"""What the seams of models and tools share: classes wrapped once, and no call governed twice."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

from governance.boundary import END_OF_STREAM
from governance.call import Call
from governance.current import current_call

LANGCHAIN = ("langchain_core.", "langchain_openai.", "langgraph.", "langchain.")


inside: contextvars.ContextVar[Any] = contextvars.ContextVar("sidecar_inside", default=None)
"""The tool or model whose governed method is on its way to its base class."""


def subclasses(kind: type) -> Iterator[type]:
    below: list[type] = kind.__subclasses__()
    for one in below:
        yield one
        yield from subclasses(one)


def on_subclass(base: Any, govern: Callable[[type], None]) -> None:
    original = base.__init_subclass__.__func__

    @functools.wraps(original)
    def init_subclass(cls: type, **kwargs: Any) -> None:
        original(cls, **kwargs)
        govern(cls)

    base.__init_subclass__ = classmethod(init_subclass)  # type: ignore[arg-type]  # it takes a class, as such a method does


def passing(subject: Any) -> Call | None:
    """The call to govern `subject` under; None where there is none or it is governed already."""
    call = current_call()
    if call is None or inside.get() is subject:
        return None
    return call


def within(subject: Any, pieces: Iterator[Any]) -> Iterator[Any]:
    """A stream of the subject's own; where it goes on to its base class, that is the same call."""
    while True:
        token = inside.set(subject)
        try:
            piece = next(pieces, END_OF_STREAM)
        finally:
            inside.reset(token)
        if piece is END_OF_STREAM:
            return
        yield piece


async def awithin(subject: Any, pieces: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
    async with aclosing(pieces):
        while True:
            token = inside.set(subject)
            try:
                piece = await anext(pieces, END_OF_STREAM)
            finally:
                inside.reset(token)
            if piece is END_OF_STREAM:
                return
            yield piece


def is_base(original: Callable[..., Any]) -> bool:
    return str(getattr(original, "__module__", "")).startswith("langchain_core.")
