"""Seam 4, tools: every call of a LangChain tool, however the author's code makes it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.tools import BaseTool
from langgraph.errors import GraphInterrupt
from pydantic import BaseModel

from governance.boundary import arun_inner, run_inner, tool_call
from governance.call import Call, ToolCall
from governance.current import CURRENT
from governance.likeness import like
from governance.seams.classes import LANGCHAIN, inside, is_base, on_subclass, passing, subclasses
from governance.seams.last_look import enters_by_langchain, look_last
from governance.seams.tool_arguments import given_in, handed, known_as, shown


def _govern_tool(kind: type) -> None:
    ours = kind.__module__.startswith(LANGCHAIN)
    # Only `invoke` takes the arguments out of a tool call; `run` is given the arguments alone.
    wraps: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
        "run": functools.partial(_tool_run, unwraps=False),
        "arun": functools.partial(_tool_arun, unwraps=False),
        "invoke": functools.partial(_tool_run, unwraps=True),
        "ainvoke": functools.partial(_tool_arun, unwraps=True),
        "_to_args_and_kwargs": _tool_arguments,
    }
    for name, wrap in wraps.items():
        own = kind.__dict__.get(name)
        if own is None or (ours and name in ("invoke", "ainvoke")):
            continue  # LangChain's own invoke leads to run, which is governed
        setattr(kind, name, wrap(own))
    if ours:
        look_last(kind)


def _tool_run(original: Callable[..., Any], *, unwraps: bool) -> Callable[..., Any]:
    @like(original)
    def run(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return _beneath(self, original, tool_input, args, kwargs)
        call, rebuild = _open_tool(parent, self, tool_input, kwargs, unwraps)

        def perform(inner: ToolCall) -> Any:
            given = rebuild(inner)
            token = inside.set(None if is_base(original) else self)
            inner.began = True
            try:
                return original(self, given, *args, **kwargs)
            except GraphInterrupt:
                if call.asks is not None:
                    call.asks()
                raise
            finally:
                call.began = inner.began
                inside.reset(token)

        return run_inner(call, perform)

    return run


def _tool_arun(original: Callable[..., Any], *, unwraps: bool) -> Callable[..., Any]:
    @like(original)
    async def arun(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return await _abeneath(self, original, tool_input, args, kwargs)
        call, rebuild = _open_tool(parent, self, tool_input, kwargs, unwraps)

        async def perform(inner: ToolCall) -> Any:
            given = rebuild(inner)
            token = inside.set(None if is_base(original) else self)
            inner.began = True
            try:
                return await original(self, given, *args, **kwargs)
            except GraphInterrupt:
                if call.asks is not None:
                    await asyncio.to_thread(call.asks)
                raise
            finally:
                call.began = inner.began
                inside.reset(token)

        return await arun_inner(call, perform)

    return arun


def _tool_arguments(original: Callable[..., Any]) -> Callable[..., Any]:
    """LangChain's last step before it runs a tool's code: arguments that do not fit end here."""

    @like(original)
    def _to_args_and_kwargs(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        except Exception:
            call = CURRENT.get()
            # Where the author's own entry stands before LangChain's, it may have done anything already.
            if isinstance(call, ToolCall) and call.tool is self and enters_by_langchain(type(self)):
                call.began = False
            raise

    return _to_args_and_kwargs


def _beneath(self: Any, original: Callable[..., Any], given: Any, args: Any, kwargs: Any) -> Any:
    """The base class's own method of a governed call; what it calls in turn is governed anew."""
    if inside.get() is not self or not is_base(original):
        return original(self, given, *args, **kwargs)
    token = inside.set(None)
    try:
        return original(self, given, *args, **kwargs)
    finally:
        inside.reset(token)


async def _abeneath(self: Any, original: Callable[..., Any], given: Any, args: Any, kwargs: Any) -> Any:
    if inside.get() is not self or not is_base(original):
        return await original(self, given, *args, **kwargs)
    token = inside.set(None)
    try:
        return await original(self, given, *args, **kwargs)
    finally:
        inside.reset(token)


def _open_tool(
    parent: Call, tool: BaseTool, given: Any, kwargs: Mapping[str, Any], unwraps: bool
) -> tuple[ToolCall, Callable[[ToolCall], Any]]:
    """The call of a tool, and how to give the tool its arguments back, edited or not."""
    call_id, args = kwargs.get("tool_call_id"), given
    wrapped = unwraps and isinstance(given, Mapping) and given.get("type") == "tool_call"
    if wrapped:
        call_id, args = given.get("id"), given.get("args")
    if isinstance(args, BaseModel):
        args = {known_as(tool, name): value for name, value in args}
    if isinstance(args, Mapping):
        args = dict(args)  # what is judged now is what the tool gets, whoever keeps the mapping
    visible = shown(tool, args)
    call = tool_call(parent, tool, visible, call_id)
    call.injected = given_in(tool).injected

    def rebuild(inner: ToolCall) -> Any:
        got = args if inner.args is visible else handed(tool, args, inner.args)
        return {**given, "args": got} if wrapped else got

    return call, rebuild


WANTED: list[tuple[Any, tuple[str, ...]]] = [
    (BaseTool, ("run", "arun", "invoke", "ainvoke", "_filter_injected_args", "_to_args_and_kwargs", "_arun")),
]


def install() -> None:
    """Govern the base class, the tools there are, and those to come."""
    for kind in (BaseTool, *subclasses(BaseTool)):
        _govern_tool(kind)
    on_subclass(BaseTool, _govern_tool)
