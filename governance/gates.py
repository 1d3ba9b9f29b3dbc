"""Verification before anybody reads a result: a gate looks at an update and returns a `Verdict`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from langgraph.types import Command, Send
from pydantic import TypeAdapter, ValidationError

from governance.call import NodeCall


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate decided, why, and on what evidence; a value, never an exception."""

    outcome: Literal["pass", "revise", "escalate", "halt"]
    reason: str = ""
    evidence: Any = None

    @classmethod
    def passed(cls, evidence: Any = None) -> Verdict:
        return PASSED if evidence is None else cls("pass", "", evidence)

    @classmethod
    def revise(cls, reason: str, evidence: Any = None) -> Verdict:
        """The node should try again, and is told why."""
        return cls("revise", reason, evidence)

    @classmethod
    def escalate(cls, reason: str, evidence: Any = None) -> Verdict:
        """A person should decide."""
        return cls("escalate", reason, evidence)

    @classmethod
    def halt(cls, reason: str, evidence: Any = None) -> Verdict:
        """The update is wrong for good."""
        return cls("halt", reason, evidence)


PASSED = Verdict("pass")
"""The one verdict that needs no row of its own: that the node ended says that it passed."""


@runtime_checkable
class Gate(Protocol):
    """Looks at an update before it is committed; `call.read(key)` gives the state it stands on."""

    def __call__(self, call: NodeCall, update: Any, /) -> Verdict: ...


def schema(key: str, kind: Any) -> Gate:
    """What is written to `key` must be valid for a type or pydantic model, strictly."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def gate(call: NodeCall, update: Any) -> Verdict:
        values = _written(update, key)
        if not values:
            return Verdict.revise(f"nothing was written to {key!r}")
        try:
            for value in values:
                adapter.validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or key
            return Verdict.revise(f"{key}: {place}: {first['msg']}, got {first['input']!r}"[:500])
        return Verdict.passed()

    return gate


def grounded(
    key: str,
    evidence: str,
    *,
    cited: Callable[[Any], Iterable[str]],
    known: Callable[[Any], Iterable[str]] = lambda value: value,
    least: int = 1,
) -> Gate:
    """What is written to `key` must cite at least `least` pieces of evidence, and only ones that exist.

    `cited` takes the citations from the written value, `known` the ids from the state key `evidence`.
    """

    def gate(call: NodeCall, update: Any) -> Verdict:
        named = list(dict.fromkeys(one for value in _written(update, key) for one in cited(value)))
        there = set(known(call.read(evidence) or ()))
        invented = [one for one in named if one not in there]
        if invented:
            return Verdict.revise(
                f"{key} cites evidence that does not exist: {', '.join(map(repr, invented[:5]))}; "
                f"there is: {', '.join(sorted(there)[:20])}",
                evidence=invented,
            )
        if len(named) < least:
            return Verdict.revise(f"{key} must cite at least {least} of: {', '.join(sorted(there)[:20])}")
        return Verdict.passed(evidence=named)

    return gate


def custom(
    check: Callable[[NodeCall, Any], str | None],
    *,
    otherwise: Literal["revise", "escalate", "halt"] = "revise",
) -> Gate:
    """A check of your own: it returns what is wrong with the update, or None."""

    def gate(call: NodeCall, update: Any) -> Verdict:
        wrong = check(call, update)
        return Verdict.passed() if wrong is None else Verdict(otherwise, wrong)

    return gate


def _written(update: Any, key: str) -> list[Any]:
    """Everything an update writes to a key, in any form LangGraph takes."""
    if isinstance(update, Mapping):
        found = [update.get(key)]
    elif isinstance(update, Command) and isinstance(update.update, (list, tuple)):
        found = [value for name, value in update.update if name == key]
    elif isinstance(update, Command):
        return _written(update.update, key)
    elif isinstance(update, (list, tuple)):
        found = [value for part in update if not isinstance(part, Send) for value in _written(part, key)]
    else:
        found = [getattr(update, key, None)]
    return [value for value in found if value is not None]
