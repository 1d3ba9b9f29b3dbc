"""A tool's arguments as the tool will get them, whatever its caller, its schema and LangGraph make of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, get_type_hints

from langchain_core.tools import BaseTool, InjectedToolCallId
from langchain_core.tools.base import (
    _is_directly_injected_arg_type,
    _is_injected_arg_type,
    get_all_basemodel_annotations,
)
from langgraph.prebuilt import InjectedState, InjectedStore
from pydantic import AliasChoices, BaseModel, ValidationError

from governance.errors import ContractViolation

FILLED_IN = (InjectedState, InjectedStore, InjectedToolCallId)


def shown(tool: BaseTool, args: Any) -> dict[str, Any]:
    """The arguments as the tool will get them: without what LangGraph fills in, with defaults, aliases resolved."""
    fields, hidden = _fields(tool), given_in(tool).filled
    given = args if isinstance(args, Mapping) else {next(iter(fields), "input"): args}
    if any(field.alias or field.validation_alias for field in fields.values()):
        given = _resolved(tool, given)
    visible = {name: value for name, value in given.items() if name not in hidden}
    for name, field in fields.items():
        if name not in visible and name not in hidden and not field.is_required() and _plain(field.default):
            visible[name] = field.default
    return visible


def _resolved(tool: BaseTool, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Under the names the tool knows them by, and as its schema reads them."""
    parsed = _parsed(tool, given)
    if parsed is None:
        return given  # the tool refuses them too
    return {name: getattr(parsed, name) for name in parsed.model_fields_set}


def handed(tool: BaseTool, args: Any, edited: Mapping[str, Any]) -> dict[str, Any]:
    """Edited arguments in the form the tool reads, beside what is nobody's to edit."""
    hidden = given_in(tool).filled
    kept = {k: v for k, v in args.items() if k in hidden} if isinstance(args, Mapping) else {}
    given = {**kept, **{known_as(tool, name): value for name, value in edited.items()}}
    parsed = _parsed(tool, given)
    known = args.keys() if isinstance(args, Mapping) else set()
    unread = set() if parsed is None else edited.keys() - parsed.model_fields_set - known
    if unread:
        raise ContractViolation(f"{tool.name} cannot be given the edited {', '.join(sorted(unread))}", tool=tool.name)
    return given


def _parsed(tool: BaseTool, args: Mapping[str, Any]) -> BaseModel | None:
    """What a tool's schema makes of arguments; None where they do not fit, or where there is no such schema."""
    schema, missing = tool.args_schema, given_in(tool).filled & _fields(tool).keys() - args.keys()
    if not _fields(tool):
        return None
    try:
        return schema.model_validate({**args, **dict.fromkeys(missing, "")})  # type: ignore[union-attr]  # with fields it is a model
    except ValidationError:
        return None


def known_as(tool: BaseTool, name: str) -> str:
    """The name under which a tool's schema reads a field."""
    alias = getattr(_fields(tool).get(name), "validation_alias", None)
    if isinstance(alias, AliasChoices):
        alias = next((one for one in alias.choices if isinstance(one, str)), None)
    return alias if isinstance(alias, str) else name


def _fields(tool: BaseTool) -> Mapping[str, Any]:
    return getattr(tool.args_schema, "model_fields", {})


class GivenIn(NamedTuple):
    """The arguments that no model gives: LangChain and LangGraph fill some in, a caller the others."""

    filled: frozenset[str]
    injected: frozenset[str]


def given_in(tool: BaseTool) -> GivenIn:
    """Those of a tool, read off its code and its schema; remembered, as every call asks."""
    codes = [getattr(tool, name, None) for name in ("coroutine", "func")] + [type(tool)._run, type(tool)._arun]
    schema = tool.args_schema if isinstance(tool.args_schema, type) else None
    try:
        return _read_off(schema, *codes)
    except TypeError:  # code that cannot be hashed
        return _read_off.__wrapped__(schema, *codes)


@functools.lru_cache(maxsize=128)
def _read_off(schema: type | None, *codes: Any) -> GivenIn:
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
    return GivenIn(filled, frozenset(name for name, kind in typed.items() if _is_injected_arg_type(kind)) - filled)


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
