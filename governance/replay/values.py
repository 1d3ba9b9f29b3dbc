"""Recorded values as trees that can be compared: what was serialised, without making objects of it.

A class may have moved, or check what it is made of; neither must stand in the way of a comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import ormsgpack

from governance.plane.payloads import JSON, LIST, SHOWN, TYPED, Value, serialised
from governance.plane.redaction import Redaction

NAMED = 2
"""A packed object begins with its module and its name."""
UNORDERED = ("builtins.set", "builtins.frozenset")


@dataclass(frozen=True, slots=True)
class Object:
    """An object by the name of its class and what it is made of."""

    kind: str
    parts: Any


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands where one side has nothing."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()


def tree(value: Any, redact: Redaction) -> Any:
    """A live value as the tree that its record would be."""
    return of_value(serialised(value, redact))


def of_value(value: Value) -> Any:
    if value.kind == LIST:
        return [of_value(item) for item in value.items]
    return of_bytes(value.kind, value.data)


def stored(kind: str, data: bytes, item: Callable[[str], Any]) -> Any:
    """The tree of a stored payload; `item` finds those of a list by digest."""
    if kind == LIST:
        return [item(digest) for digest in orjson.loads(data)]
    return of_bytes(kind, data)


def of_bytes(kind: str, data: bytes) -> Any:
    if kind in (JSON, SHOWN):
        return orjson.loads(data)
    if kind == TYPED:
        return ormsgpack.unpackb(data, ext_hook=_object, option=ormsgpack.OPT_NON_STR_KEYS)
    return None if kind == "null" else Object(kind, bytes(data))


def _object(code: int, data: bytes) -> Any:
    parts = ormsgpack.unpackb(data, ext_hook=_object, option=ormsgpack.OPT_NON_STR_KEYS)
    if not isinstance(parts, list) or len(parts) <= NAMED or not isinstance(parts[0], str):
        return Object(f"#{code}", parts)
    kind = f"{parts[0]}.{parts[1]}"
    held = sorted(parts[2], key=repr) if kind in UNORDERED else parts[2]
    return Object(kind, held)
