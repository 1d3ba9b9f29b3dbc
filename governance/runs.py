"""What a run of a graph begins with and where it comes to rest: what the record, and a replay, hear of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

End = Literal["done", "interrupted", "drained", "failed", "left"]
"""`left`: it was cancelled, or whoever read its stream went away."""


@dataclass(frozen=True, slots=True)
class Begun:
    """How a run was started."""

    given: Any
    """The input, a `Command`, or None where the thread goes on from where it is."""
    plainly: bool
    """Whether it was started by sync code."""
    saved: bool
    """Whether it has a checkpointer."""
    rewinds: bool
    """Whether it begins at an earlier checkpoint of its thread."""
    before: tuple[str, ...]
    after: tuple[str, ...]
    """Nodes that it is to stop before, or after; `*` is all of them."""
    configured: Mapping[str, Any]
    """What the author's own keys of `configurable` hold."""
    context: Any
    limit: int


@dataclass(frozen=True, slots=True)
class Rested:
    """How a run ended; `state` is what its channels held then, None where it failed."""

    end: End
    state: Mapping[str, Any] | None
    error: str = ""
