"""Checks values against types with pydantic, strictly; adapters are built once a type."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, InstanceOf, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

_ADAPTERS: dict[Any, TypeAdapter[Any] | None] = {}
_PLAIN = {str: str, int: int, bool: bool, list: list, dict: dict, float: float}


def type_problem(key: str, kind: Any, value: Any) -> str | None:
    """Why `value` is not of type `kind`, or None; a type that cannot be checked passes."""
    if kind is Any:
        return None
    if isinstance(kind, type) and type(value) is _PLAIN.get(kind, _PLAIN):
        return None
    adapter = adapter_of(kind)
    if adapter is None:
        return None
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, (key, *first["loc"])))
        return f"wrote {place} = {first['input']!r:.120}: {first['msg']}"
    except PydanticUserError:  # the annotation names what does not exist at run time
        return None
    except Exception as error:  # a type's own validator, which may not expect just anything
        return f"wrote {key} = {value!r:.120}: {error}"
    return None


def adapter_of(kind: Any) -> TypeAdapter[Any] | None:
    """The validator of a type, or None where pydantic cannot build one."""
    try:
        return _ADAPTERS[kind]
    except KeyError:
        pass
    except TypeError:  # an unhashable annotation
        return _build(kind)
    built = _ADAPTERS[kind] = _build(kind)
    return built


def _build(kind: Any) -> TypeAdapter[Any] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        # A mapping that fits is no model yet, and whoever reads it expects one.
        kind = InstanceOf[kind]  # type: ignore[misc]  # no type to mypy: it is made at run time
    try:
        return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        pass
    except Exception:  # annotations may name anything, also what does not exist at run time
        return None
    try:
        return TypeAdapter(kind)
    except Exception:
        return None
