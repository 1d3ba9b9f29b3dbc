"""Failures of nodes that were isolated: what the others went on without, as values a node can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from governance.call import NodeCall
from governance.current import current_call
from governance.errors import ContractViolation, DeadlineExceeded, GovernanceError, Unavailable
from governance.failures import weather

CHANNEL = "__sidecar_failures__"
"""The graph's private channel that keeps them; no key of any state."""
LONGEST = 2_000
"""Characters of an error's message that are kept."""


@dataclass(frozen=True, slots=True)
class EffectLeft:
    """An effect of a node that failed: it is finished, or nobody knows how it ended."""

    tool: str
    path: str
    state: Literal["finished", "in doubt"]


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """What a node failed by that was isolated, and what it had done by then.

    `kind` is `deadline`, `circuit-open`, `shed` or `retries-exhausted`, or the trouble of a dependency
    (`timeout`, `connection`, `server`, `rate-limited`, `named`), or `error` for everything else.
    """

    node: str
    path: str
    kind: str
    error: str
    message: str
    attempts: int
    at: float
    """Seconds since 1970."""
    effects: tuple[EffectLeft, ...] = ()


def isolated() -> tuple[NodeFailure, ...]:
    """The failures that were isolated in the graph of this node since its last input, oldest first.

    Empty outside of a governed node. Raises `ContractViolation` where the contract of the node does not say
    `reads_failures=True`: messages of errors may tell what a node must not read.
    """
    call = current_call()
    if call is None:
        return ()
    node = _of_the_graph(call.node)
    if node.bound.enforced and not node.contract.reads_failures:
        raise call.node.refuse(
            ContractViolation(f"{node.place} read failures of other nodes; its contract lacks reads_failures=True")
        )
    found = node.governance.state(node, CHANNEL).get(CHANNEL)
    return tuple(map(_read, found or ()))


def isolates(error: BaseException) -> bool:
    """Whether a failure is one of the node alone: its own error, a dependency that is away, a deadline.

    Everything else that governance decides holds for the whole run, and nobody may make less of it.
    """
    if isinstance(error, GovernanceError):
        return isinstance(error, (Unavailable, DeadlineExceeded))
    return isinstance(error, Exception)


def beneath_the_living(call: NodeCall) -> bool:
    """Whether all that the node runs in is still at work, and was refused nothing."""
    above = call.parent.node if call.parent is not None else None
    while above is not None:
        if above.refusal is not None or above.state == "over":
            return False
        above = above.parent.node if above.parent is not None else None
    return True


def failure_of(call: NodeCall, error: Exception, attempts: int, at: float, effects: tuple[EffectLeft, ...]) -> Any:
    """A `NodeFailure` as plain data, which every checkpointer can store."""
    kind = error.code if isinstance(error, GovernanceError) else weather(error) or "error"
    made = NodeFailure(call.place, call.path, kind, type(error).__name__, _text(error), attempts, at, effects)
    return {**asdict(made), "effects": [asdict(one) for one in effects]}


def _text(error: Exception) -> str:
    try:
        said = str(error)[:LONGEST]
    except Exception:  # an error is anybody's code
        return ""
    return said.encode("utf-8", "backslashreplace").decode()  # half of a surrogate pair cannot be stored


def _read(told: Mapping[str, Any]) -> NodeFailure:
    return NodeFailure(**{**told, "effects": tuple(EffectLeft(**one) for one in told["effects"])})


def _of_the_graph(node: NodeCall) -> NodeCall:
    """The node whose graph it is: a task runs in the one that scheduled it."""
    while node.scheduled and node.parent is not None:
        node = node.parent.node
    return node
