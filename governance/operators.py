"""A person acting on a graph from outside its nodes, by name and with a reason."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from governance.errors import AuthorityRefused, ConfigurationError


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts and why; both go into the ledger with what was done."""

    name: str
    reason: str


_OPERATOR: contextvars.ContextVar[Operator | None] = contextvars.ContextVar("sidecar_operator", default=None)


@contextmanager
def operator(name: str, *, reason: str) -> Iterator[Operator]:
    """Open the doors for a named person: `update_state`, `Command` input and rewinds are then recorded, not refused.

    Code of a node cannot become an operator: inside a governed call this raises `AuthorityRefused`.
    """
    refuse_inside(f"act as operator {name!r}")
    if not name.strip() or not reason.strip():
        raise ConfigurationError("operator(name, reason=...) needs both a name and a reason")
    token = _OPERATOR.set(Operator(name, reason))
    try:
        yield Operator(name, reason)
    finally:
        _OPERATOR.reset(token)


def refuse_inside(what: str) -> None:
    """Raise where code of a node tries what only people outside may do."""
    from governance.current import current_call

    call = current_call()
    if call is not None:
        raise call.node.refuse(AuthorityRefused(f"{call.node.place} tried to {what}", code="operator"))


def current_operator() -> Operator | None:
    return _OPERATOR.get()
