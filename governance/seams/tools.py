"""Seam 4, tools: every call of a LangChain tool, however the author's code makes it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, get_type_hints

from langchain_core.tools import BaseTool, InjectedToolCallId
from langchain_core.tools.base import (
    _is_directly_injected_arg_type,
    _is_injected_arg_type,
    get_all_basemodel_annotations,
)
from langgraph.errors import GraphInterrupt
from langgraph.prebuilt import InjectedState, InjectedStore
from pydantic import AliasChoices, BaseModel, ValidationError

from governance.boundary import (
    arun_inner,
    run_inner,
    tool_call,
)
from governance.call import Call, ToolCall
from governance.current import CURRENT
from governance.errors import ContractViolation
from governance.likeness import like
from governance.seams.classes import LANGCHAIN, inside, is_base, on_subclass, passing, subclasses


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
            if isinstance(call, ToolCall) and call.tool is self and _enters_by_langchain(type(self)):
                call.began = False
            raise

    return _to_args_and_kwargs


def _enters_by_langchain(kind: type) -> bool:
    return all(is_base(getattr(kind, name)) for name in ("run", "arun", "invoke", "ainvoke"))


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
        args = {_known_as(tool, name): value for name, value in args}
    if isinstance(args, Mapping):
        args = dict(args)  # what is judged now is what the tool gets, whoever keeps the mapping
    visible = _visible(tool, args)
    call = tool_call(parent, tool, visible, call_id)
    call.injected = _given_in(tool).injected

    def rebuild(inner: ToolCall) -> Any:
        got = args if inner.args is visible else _handed(tool, args, inner.args)
        return {**given, "args": got} if wrapped else got

    return call, rebuild


def _visible(tool: BaseTool, args: Any) -> dict[str, Any]:
    """The arguments as the tool will get them: without what LangGraph fills in, with defaults, aliases resolved."""
    fields, hidden = _fields(tool), _given_in(tool).filled
    given = args if isinstance(args, Mapping) else {next(iter(fields), "input"): args}
    if any(field.alias or field.validation_alias for field in fields.values()):
        given = _resolved(tool, given)
    shown = {name: value for name, value in given.items() if name not in hidden}
    for name, field in fields.items():
        if name not in shown and name not in hidden and not field.is_required() and _plain(field.default):
            shown[name] = field.default
    return shown


def _resolved(tool: BaseTool, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Under the names the tool knows them by, and as its schema reads them."""
    parsed = _parsed(tool, given)
    if parsed is None:
        return given  # the tool refuses them too
    return {name: getattr(parsed, name) for name in parsed.model_fields_set}


def _handed(tool: BaseTool, args: Any, edited: Mapping[str, Any]) -> dict[str, Any]:
    """Edited arguments in the form the tool reads, beside what is nobody's to edit."""
    hidden = _given_in(tool).filled
    kept = {k: v for k, v in args.items() if k in hidden} if isinstance(args, Mapping) else {}
    handed = {**kept, **{_known_as(tool, name): value for name, value in edited.items()}}
    parsed = _parsed(tool, handed)
    known = args.keys() if isinstance(args, Mapping) else set()
    unread = set() if parsed is None else edited.keys() - parsed.model_fields_set - known
    if unread:
        raise ContractViolation(f"{tool.name} cannot be given the edited {', '.join(sorted(unread))}", tool=tool.name)
    return handed


def _parsed(tool: BaseTool, args: Mapping[str, Any]) -> BaseModel | None:
    """What a tool's schema makes of arguments; None where they do not fit, or where there is no such schema."""
    schema, missing = tool.args_schema, _given_in(tool).filled & _fields(tool).keys() - args.keys()
    if not _fields(tool):
        return None
    try:
        return schema.model_validate({**args, **dict.fromkeys(missing, "")})  # type: ignore[union-attr]
    except ValidationError:
        return None


def _known_as(tool: BaseTool, name: str) -> str:
    """The name under which a tool's schema reads a field."""
    alias = getattr(_fields(tool).get(name), "validation_alias", None)
    if isinstance(alias, AliasChoices):
        alias = next((one for one in alias.choices if isinstance(one, str)), None)
    return alias if isinstance(alias, str) else name


def _fields(tool: BaseTool) -> Mapping[str, Any]:
    return getattr(tool.args_schema, "model_fields", {})


class _GivenIn(NamedTuple):
    """The arguments that no model gives: LangChain and LangGraph fill some in, a caller the others."""

    filled: frozenset[str]
    injected: frozenset[str]


def _given_in(tool: BaseTool) -> _GivenIn:
    codes = [getattr(tool, name, None) for name in ("coroutine", "func")] + [type(tool)._run, type(tool)._arun]
    schema = tool.args_schema if isinstance(tool.args_schema, type) else None
    try:
        return _read_off(schema, *codes)
    except TypeError:  # code that cannot be hashed
        return _read_off.__wrapped__(schema, *codes)


@functools.lru_cache(maxsize=128)
def _read_off(schema: type | None, *codes: Any) -> _GivenIn:
    typed: dict[str, Any] = {}
    for code in codes:
        typed |= _hints(code)
    if schema is not None:
        typed |= get_all_basemodel_annotations(schema)
    filled = frozenset(
        name
        for name, kind in typed.items()
        if _is_directly_injected_arg_type(kind) or any(_is_injected_arg_type(kind, one) for one in FILLED_IN)
    )
    return _GivenIn(filled, frozenset(name for name, kind in typed.items() if _is_injected_arg_type(kind)) - filled)


def _hints(code: Any) -> dict[str, Any]:
    """The types of arguments, each by itself: one that names what is not there hides no other."""
    found: dict[str, Any] = {}
    for name, kind in getattr(code, "__annotations__", {}).items():
        single = SimpleNamespace(__annotations__={name: kind})
        try:
            found |= get_type_hints(single, getattr(code, "__globals__", {}), include_extras=True)
        except Exception:  # such an argument is shown
            continue
    return found


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) and value is not None


FILLED_IN = (InjectedState, InjectedStore, InjectedToolCallId)
WANTED: list[tuple[Any, tuple[str, ...]]] = [
    (BaseTool, ("run", "arun", "invoke", "ainvoke", "_filter_injected_args", "_to_args_and_kwargs"))
]


def install() -> None:
    """Govern the base class, the tools there are, and those to come."""
    for kind in (BaseTool, *subclasses(BaseTool)):
        _govern_tool(kind)
    on_subclass(BaseTool, _govern_tool)
