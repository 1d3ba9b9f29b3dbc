"""What a rule decides by, as a value to digest: code and captured values, never an address in memory.

Two limits that differ only in their number are two rules, though Python gives both the same name.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any

DEEPEST = 12
PLAIN = (str, int, float, bool, bytes, type(None))
SHOWN = frozenset({"re", "types", "typing", "pydantic.type_adapter"})
"""Modules whose objects say in their `repr` all that they decide by."""


def fingerprint(value: Any, depth: int = 0) -> Any:
    """Plain data that changes when the rule `value` could decide differently."""
    if isinstance(value, PLAIN):
        return value
    if depth > DEEPEST:
        return "..."
    inner = functools.partial(fingerprint, depth=depth + 1)
    if isinstance(value, types.FunctionType):
        return [
            _name(value),
            _code(value.__code__),
            inner(value.__defaults__),
            inner(value.__kwdefaults__),
            _cells(value, inner),
        ]
    if isinstance(value, types.MethodType):
        return [inner(value.__func__), inner(value.__self__)]
    if isinstance(value, functools.partial):
        return [inner(value.func), inner(value.args), inner(value.keywords)]
    if isinstance(value, Mapping):
        return {str(key): inner(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [inner(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted((inner(one) for one in value), key=repr)
    if isinstance(value, (type, types.BuiltinFunctionType)):
        return _name(value)
    if type(value).__module__ in SHOWN:
        return repr(value)
    return _object(value, inner)


def _object(value: Any, inner: Any) -> Any:
    """An instance: its type, and its fields where they are what makes it decide."""
    kind = _name(type(value))
    if dataclasses.is_dataclass(value):
        return [kind, {f.name: inner(getattr(value, f.name)) for f in dataclasses.fields(value)}]
    if callable(value) and type(value).__module__.partition(".")[0] not in ("langchain_core", "langgraph"):
        return [kind, inner(getattr(value, "__dict__", {}))]
    return kind


def _code(code: types.CodeType) -> Any:
    constants = [_code(c) if isinstance(c, types.CodeType) else fingerprint(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]


def _cells(function: types.FunctionType, inner: Any) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(inner(cell.cell_contents))
        except ValueError:  # not filled yet
            found.append("empty")
    return found


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
