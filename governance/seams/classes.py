"""What the seams of models and tools share: classes wrapped once, and no call governed twice."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

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


def is_base(original: Callable[..., Any]) -> bool:
    return str(getattr(original, "__module__", "")).startswith("langchain_core.")
