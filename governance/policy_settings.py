"""A policy as a flat list of what is set, and what is different between two of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from governance.policy import Policy

SECRET = re.compile(r"(?<=://)[^/@]*:[^/@]*@")


class Change(NamedTuple):
    """One key that is no longer what it was; None where it is not set."""

    key: str
    before: Any
    after: Any


def settings(policy: Policy) -> dict[str, Any]:
    """Everything in force by its key: `budget.session_tokens`, `dependency."payments".breaker.window`.

    What is off is left out, and so is the password in an address.
    """
    return {key: _shown(value) for key, value in _flat("", policy)}


def changes(before: Policy, after: Policy) -> list[Change]:
    """Every key that differs, in order."""
    old, new = settings(before), settings(after)
    return [Change(key, old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)]


def described(found: list[Change]) -> dict[str, Any]:
    """As it stands on record: `{key: [before, after]}`."""
    return {change.key: [change.before, change.after] for change in found}


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _flat(f"{key}.{field.name}" if key else field.name, getattr(value, field.name))
    elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        for number, one in enumerate(value):
            name = getattr(one, "name", None)
            yield from _flat(f"{key}.{number + 1}" if name is None else f'{key}."{name}"', one)
    elif value is not None:
        yield key, list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> Any:
    return SECRET.sub("", value) if isinstance(value, str) else value
