"""Seam 4, the last step: right before a tool's own code begins, whether somebody stopped it meanwhile.

Between the filters and that code LangChain does much of its own: callbacks, arguments, a turn of the event
loop, a queue of threads. Only LangChain's own classes are wrapped, which run what authors decorate; what
a class of an author's does by itself begins when the filters have passed it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

from langchain_core.tools import BaseTool

from governance.call import ToolCall
from governance.current import CURRENT
from governance.errors import Halted
from governance.filters.authority import check_stops
from governance.likeness import like
from governance.seams.classes import is_base


def look_last(kind: type) -> None:
    """Wrap the code of one of LangChain's classes of tools."""
    for name, wrap in (("_run", _code), ("_arun", _acode)):
        own = kind.__dict__.get(name)
        if own is None or getattr(own, "__isabstractmethod__", False):
            continue
        try:
            hints = get_type_hints(own, include_extras=True)
        except NameError:
            continue  # LangChain reads its types, which nobody can then
        made = wrap(own)
        made.__annotations__ = hints
        setattr(kind, name, made)


def _code(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def _run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        _look(self)
        return original(self, *args, **kwargs)

    return _run


def _acode(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def _arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        _look(self)
        return await original(self, *args, **kwargs)

    return _arun


def _look(tool: BaseTool) -> None:
    call = CURRENT.get()
    if isinstance(call, ToolCall) and call.tool is tool and call.node.bound.enforced:
        try:
            check_stops(call)
        except Halted:
            if enters_by_langchain(type(tool)):
                call.began = False
            raise


def enters_by_langchain(kind: type) -> bool:
    """Whether nothing of an author's stands before LangChain's entry to a tool, and may have done something."""
    return all(is_base(getattr(kind, name)) for name in ("run", "arun", "invoke", "ainvoke"))
