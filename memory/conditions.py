"""Filters: what a value must be like. An operator that is none raises, for an empty answer would look like one.

A filter is a mapping. A key names a field, with dots for fields inside of it, and stands for a value or for a mapping
of operators: `$eq $ne $gt $gte $lt $lte $in $nin $exists`. `$and` and `$or` take a list of filters, `$not` takes one;
inside a field, `$not` takes operators. All that stands side by side must hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from memory.errors import UnknownOperator

Test = Callable[[Mapping[str, Any]], bool]
_MISSING = object()
_FIELD = re.compile(r"[\w\- ]+(\.[\w\- ]+)*")


def compiled(filter: Mapping[str, Any] | None) -> Test:
    """The filter as one test of a value; whatever is wrong with it is said here, before anything is read."""
    tests = [_clause(name, wanted) for name, wanted in (filter or {}).items()]
    return lambda value: all(test(value) for test in tests)


def _clause(name: str, wanted: Any) -> Test:
    if name in ("$and", "$or"):
        if not isinstance(wanted, list | tuple):
            raise UnknownOperator(f"{name} takes a list of filters, not {wanted!r}")
        parts = [compiled(part) for part in wanted]
        together = all if name == "$and" else any
        return lambda value: together(part(value) for part in parts)
    if name == "$not":
        inner = compiled(wanted)
        return lambda value: not inner(value)
    if name.startswith("$"):
        raise UnknownOperator(f"{name} is no operator between fields; those are $and, $or and $not")
    if not _FIELD.fullmatch(name):
        raise ValueError(f"Invalid filter key: {name!r}; a key names a field: letters, digits, `_`, `-`, and dots")
    return _field(name, _predicate(wanted))


def _field(name: str, holds: Callable[[Any], bool]) -> Test:
    path = name.split(".")

    def test(value: Mapping[str, Any]) -> bool:
        found: Any = value.get(name, _MISSING)  # a field may itself be named with dots
        if found is _MISSING:
            found = value
            for part in path:
                found = found.get(part, _MISSING) if isinstance(found, Mapping) else _MISSING
        return holds(found)

    return test


def _predicate(wanted: Any) -> Callable[[Any], bool]:
    if not isinstance(wanted, Mapping) or not any(str(key).startswith("$") for key in wanted):
        return lambda found: _same(found, wanted)
    parts = [_operator(str(name), operand) for name, operand in wanted.items()]
    return lambda found: all(part(found) for part in parts)


def _operator(name: str, operand: Any) -> Callable[[Any], bool]:
    if name == "$not":
        inner = _predicate(operand)
        return lambda found: not inner(found)
    if name not in _OPERATORS:
        raise UnknownOperator(f"{name} is no operator of a field; those are {' '.join(sorted(_OPERATORS))} $not")
    if name in ("$in", "$nin") and not isinstance(operand, list | tuple | set | frozenset):
        raise UnknownOperator(f"{name} takes a list of values, not {operand!r}")
    compare = _OPERATORS[name]
    return lambda found: compare(found, operand)


def _same(found: Any, wanted: Any) -> bool:
    """Equal, and no number passes for a truth value; a field that is not there equals nothing but None."""
    if found is _MISSING:
        return wanted is None
    if isinstance(found, bool) != isinstance(wanted, bool):
        return False
    return bool(found == (list(wanted) if isinstance(wanted, tuple) else wanted))


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Numbers compare with numbers and text with text; anything else is not in order and does not hold."""

    def holds(found: Any, wanted: Any) -> bool:
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (found, wanted))
        texts = isinstance(found, str) and isinstance(wanted, str)
        return (numbers or texts) and compare(found, wanted)

    return holds


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _same,
    "$ne": lambda found, wanted: not _same(found, wanted),
    "$gt": _ordered(lambda a, b: a > b),
    "$gte": _ordered(lambda a, b: a >= b),
    "$lt": _ordered(lambda a, b: a < b),
    "$lte": _ordered(lambda a, b: a <= b),
    "$in": lambda found, wanted: any(_same(found, one) for one in wanted),
    "$nin": lambda found, wanted: not any(_same(found, one) for one in wanted),
    "$exists": lambda found, wanted: (found is not _MISSING) == bool(wanted),
}
