"""Conditions on one argument of a tool call, for `Tool(where={...})`: each tells why it does not hold, or None."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from governance.contracts import Constraint

if TYPE_CHECKING:
    from governance.call import ToolCall


def one_of(*allowed: Any) -> Constraint:
    """The argument must equal one of these values."""

    def check(value: Any, call: ToolCall) -> str | None:
        if any(value == one and type(value) is type(one) for one in allowed):
            return None
        return f"must be one of {', '.join(map(repr, allowed))}, not {value!r}"

    return check


def at_most(limit: float) -> Constraint:
    """The argument must be a number up to `limit`."""

    def check(value: Any, call: ToolCall) -> str | None:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= limit:
            return None
        return f"must be a number up to {limit}, not {value!r}"

    return check


def at_least(limit: float) -> Constraint:
    """The argument must be a number from `limit` up."""

    def check(value: Any, call: ToolCall) -> str | None:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= limit:
            return None
        return f"must be a number of at least {limit}, not {value!r}"

    return check


def matches(pattern: str) -> Constraint:
    """The argument must be a text that the whole regular expression matches."""
    compiled = re.compile(pattern)

    def check(value: Any, call: ToolCall) -> str | None:
        if isinstance(value, str) and compiled.fullmatch(value):
            return None
        return f"must match {pattern!r}, not {value!r}"

    return check


def from_state(key: str, pick: Callable[[Any], Any] = lambda value: value) -> Constraint:
    """The argument must equal what the state of the node's graph has in `key`, or be a member of it.

    `pick` takes the part of the state's value that counts. An agent can then act only on the
    thing its session is about. An argument left out, or a state without a value, fits nothing.
    """

    def check(value: Any, call: ToolCall) -> str | None:
        given = call.node.read(key)
        known = None if given is None else pick(given)
        members = known if isinstance(known, (list, tuple, set, frozenset)) else (known,)
        if value is not None and any(value == one and type(value) is type(one) for one in members):
            return None
        return f"must come from the state key {key!r}, not {value!r}"

    return check
