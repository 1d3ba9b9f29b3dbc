"""What a rule decides by, as a value to digest: code and the values it uses, never an address in memory.

Two limits that differ only in their number are two rules, though Python gives both the same name. The
number may stand in the code, in what a function captured, in a global or an attribute that it names,
in a field of a model. Libraries are known by name: what a rule decides by is the author's.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

DEEPEST = 12
PLAIN = (str, int, float, bool, bytes, type(None))
SHOWN = frozenset({"types", "typing"})
"""Modules whose objects say in their `repr` all that they decide by."""
Inner = Callable[[Any], Any]


def fingerprint(value: Any) -> Any:
    """Plain data that changes when the rule `value` could decide differently."""
    return _of(value, 0, {})


def _of(value: Any, depth: int, seen: dict[int, Any]) -> Any:
    if isinstance(value, PLAIN):
        return value
    if depth > DEEPEST:
        return "..."
    inner = functools.partial(_of, depth=depth + 1, seen=seen)
    if isinstance(value, (types.FunctionType, type)):
        if id(value) in seen:  # a function that calls itself, a model that contains itself
            return _name(value)
        seen[id(value)] = value  # kept, so that no other object gets its id meanwhile
        return _function(value, inner) if isinstance(value, types.FunctionType) else _type(value, inner)
    if isinstance(value, types.MethodType):
        return [inner(value.__func__), inner(value.__self__), _named(value.__self__, _names(value.__func__), inner)]
    if isinstance(value, functools.partial):
        return [inner(value.func), inner(value.args), inner(value.keywords)]
    if isinstance(value, Mapping):
        return {str(key): inner(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [inner(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted((inner(one) for one in value), key=repr)
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    if isinstance(value, TypeAdapter):
        return inner(value._type)
    if typing.get_args(value):  # list[Plan], Plan | None, Annotated[int, Le(5)]
        return [repr(typing.get_origin(value)), [inner(one) for one in typing.get_args(value)]]
    if isinstance(value, (types.BuiltinFunctionType, types.ModuleType)):
        return _name(value)
    if type(value).__module__ in SHOWN:
        return repr(value)
    return _object(value, inner)


def _function(value: types.FunctionType, inner: Inner) -> Any:
    names = _names(value)
    return [
        _name(value),
        _code(value.__code__, inner),
        inner(value.__defaults__),
        inner(value.__kwdefaults__),
        [[inner(one), _named(one, names, inner)] for one in _cells(value)],
        {} if _foreign(value) else _globals(value, names, inner),
    ]


def _globals(function: types.FunctionType, names: frozenset[str], inner: Inner) -> Any:
    """The globals that the code names, and of modules, classes and objects the attributes that it names."""
    found = {}
    for name in sorted(names & function.__globals__.keys()):
        one = function.__globals__[name]
        found[name] = _name(one) if _foreign(one) else [inner(one), _named(one, names, inner)]
    return found


def _named(owner: Any, names: frozenset[str], inner: Inner) -> Any:
    """The attributes of an object, a class or a module that code names."""
    if _foreign(owner):
        return {}
    held = getattr(owner, "__dict__", {})
    return {name: inner(held[name]) for name in sorted(names & held.keys()) if not _foreign(held[name])}


def _foreign(value: Any) -> bool:
    """Whether something is of a library: its name and not its code is what a rule decides by."""
    kind = value if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)) else type(value)
    name = value.__name__ if isinstance(value, types.ModuleType) else str(getattr(kind, "__module__", ""))
    if isinstance(value, PLAIN) or name == "__main__":
        return False
    if name.partition(".")[0] in sys.stdlib_module_names:
        return isinstance(value, (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType))
    return "site-packages" in (getattr(sys.modules.get(name), "__file__", None) or "")


def _type(kind: type, inner: Inner) -> Any:
    """A type, and what makes it accept a value: the fields, bounds and validators of models."""
    if _foreign(kind):
        return _name(kind)
    if issubclass(kind, BaseModel):
        fields = {name: inner(one) for name, one in kind.model_fields.items()}
        checks = [inner(one) for one in _validators(kind)]
        return [_name(kind), fields, checks, inner(dict(kind.model_config))]
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__required_keys__"):
        return [_name(kind), inner(getattr(kind, "__annotations__", {}))]
    return _name(kind)


def _validators(kind: type[BaseModel]) -> Iterator[Any]:
    kept = kind.__pydantic_decorators__
    for decorators in (kept.validators, kept.field_validators, kept.root_validators, kept.model_validators):
        for one in decorators.values():
            yield getattr(one.func, "__func__", one.func)


def _object(value: Any, inner: Inner) -> Any:
    """An instance: its type, and its fields where they are what makes it decide."""
    kind = _name(type(value))
    if dataclasses.is_dataclass(value):
        return [kind, {f.name: inner(getattr(value, f.name)) for f in dataclasses.fields(value)}]
    if isinstance(value, FieldInfo):
        return [inner(value.annotation), inner(value.metadata), inner(value.default), value.alias]
    if type(value).__module__.startswith(("pydantic.", "annotated_types")):  # the bounds of a field
        return [kind, inner(getattr(value, "__dict__", {}))]
    if callable(value) and type(value).__module__.partition(".")[0] not in ("langchain_core", "langgraph"):
        return [kind, inner(getattr(value, "__dict__", {})), inner(type(value).__call__)]
    return kind


def _code(code: types.CodeType, inner: Inner) -> Any:
    constants = [_code(c, inner) if isinstance(c, types.CodeType) else inner(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]


def _names(function: Any) -> frozenset[str]:
    """Every name that a function's code looks up, that of the functions inside it too."""
    code = getattr(function, "__code__", None)
    return frozenset() if code is None else frozenset(_looked_up(code))


def _looked_up(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _looked_up(one)


def _cells(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            yield "empty"


def _name(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
