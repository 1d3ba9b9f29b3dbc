"""Seam 4, tools: every call of a LangChain tool, however the author's code makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import ValidationError

from governance.boundary import (
    arun_inner,
    run_inner,
    tool_call,
)
from governance.call import Call, ToolCall
from governance.likeness import like
from governance.seams.classes import LANGCHAIN, inside, is_base, on_subclass, passing, subclasses


def _govern_tool(kind: type) -> None:
    ours = kind.__module__.startswith(LANGCHAIN)
    for name, wrap in {
        "run": _tool_run,
        "arun": _tool_arun,
        "invoke": _tool_run,
        "ainvoke": _tool_arun,
    }.items():
        own = kind.__dict__.get(name)
        if own is None or (ours and name in ("invoke", "ainvoke")):
            continue  # LangChain's own invoke leads to run, which is governed
        setattr(kind, name, wrap(own))


def _tool_run(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def run(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return _beneath(self, original, tool_input, args, kwargs)
        call, rebuild = _open_tool(parent, self, tool_input, kwargs)

        def perform(inner: ToolCall) -> Any:
            token = inside.set(None if is_base(original) else self)
            try:
                return original(self, rebuild(inner), *args, **kwargs)
            finally:
                inside.reset(token)

        return run_inner(call, perform)

    return run


def _tool_arun(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def arun(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return await _abeneath(self, original, tool_input, args, kwargs)
        call, rebuild = _open_tool(parent, self, tool_input, kwargs)

        async def perform(inner: ToolCall) -> Any:
            token = inside.set(None if is_base(original) else self)
            try:
                return await original(self, rebuild(inner), *args, **kwargs)
            finally:
                inside.reset(token)

        return await arun_inner(call, perform)

    return arun


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
    parent: Call, tool: BaseTool, given: Any, kwargs: Mapping[str, Any]
) -> tuple[ToolCall, Callable[[ToolCall], Any]]:
    """The call of a tool, and how to give the tool its arguments back, edited or not."""
    call_id = kwargs.get("tool_call_id")
    args: Any = given
    if isinstance(given, Mapping) and given.get("type") == "tool_call":
        call_id, args = given.get("id"), given.get("args")
    visible = _visible(tool, args)
    call = tool_call(parent, tool, visible, call_id)

    def rebuild(inner: ToolCall) -> Any:
        if inner.args is visible:
            return given
        if not isinstance(args, Mapping):
            return dict(inner.args)
        edited = {**{k: v for k, v in args.items() if k not in visible}, **inner.args}
        return {**given, "args": edited} if args is not given else edited

    return call, rebuild


def _visible(tool: BaseTool, args: Any) -> Mapping[str, Any]:
    """The arguments as the tool will get them: without what LangGraph injects, with defaults, aliases resolved."""
    fields = getattr(tool.args_schema, "model_fields", {})
    if not isinstance(args, Mapping):
        return {next(iter(fields), "input"): args}
    shown = tool._filter_injected_args(dict(args))
    if any(field.alias or field.validation_alias for field in fields.values()):
        return _resolved(tool, shown, fields)
    for name, field in fields.items():
        if name not in shown and not field.is_required() and name not in args and _plain(field.default):
            shown[name] = field.default
    return shown


def _resolved(tool: BaseTool, shown: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parsed = tool.args_schema.model_validate(shown)  # type: ignore[union-attr]
    except ValidationError:
        return shown  # the tool refuses them too
    return {name: getattr(parsed, name) for name in fields}


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) and value is not None


WANTED: list[tuple[Any, tuple[str, ...]]] = [(BaseTool, ("run", "arun", "invoke", "ainvoke", "_filter_injected_args"))]


def install() -> None:
    """Govern the base class, the tools there are, and those to come."""
    for kind in (BaseTool, *subclasses(BaseTool)):
        _govern_tool(kind)
    on_subclass(BaseTool, _govern_tool)
