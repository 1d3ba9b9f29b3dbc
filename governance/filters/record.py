"""Writes what happened into the ledger: outermost, so that nothing escapes it."""

from __future__ import annotations

import time
from typing import Any

import orjson
from langgraph.errors import GraphBubbleUp

from governance import canonical
from governance.call import After, ModelCall, NodeCall, ToolCall, also_told
from governance.errors import GovernanceError, Revise
from governance.plane.ledger import encoded


def node_record(call: NodeCall) -> After:
    """Two rows a node: that it began, and how it ended."""
    ledger = call.governance.ledger
    if ledger.broken is not None and call.governance.enforcing:
        ledger.check()
    ledger.note(call.session.id, "node.begun", call.path, call.name, (_begun, call.attempt, call.contract.digest,
                                                                      call.execution))  # fmt: skip
    call.started = time.perf_counter_ns()
    return _node_ended


def _node_failed(call: NodeCall, error: BaseException) -> None:
    word, body = _failure(error)
    body |= {"attempt": call.attempt, "execution": call.execution, "us": _spent(call)}
    call.governance.ledger.record(call.session.id, f"node.{word}", path=call.path, actor=call.name, body=body)


@also_told(_node_failed)
def _node_ended(call: NodeCall, result: Any) -> Any:
    if call.refusal is not None:  # the node's code may have swallowed it
        _node_failed(call, call.refusal)
        raise call.refusal
    wrote = tuple(result) if type(result) is dict else type(result).__name__
    call.governance.ledger.note(call.session.id, "node.ended", call.path, call.name, (_ended, call.attempt,
                                call.execution, _spent(call), wrote))  # fmt: skip
    return result


# Canonical JSON written out: digests and execution ids are ASCII without anything to escape.


def _begun(attempt: int, contract: str, execution: str) -> str:
    return f'{{"attempt":{attempt},"contract":"{contract}","execution":"{execution}"}}'


def _ended(attempt: int, execution: str, us: int, wrote: str | tuple[str, ...]) -> str:
    return f'{{"attempt":{attempt},"execution":"{execution}","us":{us},"wrote":{encoded(wrote)}}}'


def inner_record(call: ModelCall | ToolCall) -> After:
    """One row a model or tool call."""
    if call.governance.enforcing:
        call.governance.ledger.check()
    if isinstance(call, ToolCall):
        # Before the tool runs: it may change its arguments, and the record shows what it was given.
        call.given = canonical.encode(call.args)
    call.started = time.perf_counter_ns()
    return _inner_ended


def _inner_failed(call: ModelCall | ToolCall, error: BaseException) -> None:
    word, body = _failure(error)
    _inner_row(call, word, body)


@also_told(_inner_failed)
def _inner_ended(call: ModelCall | ToolCall, result: Any) -> Any:
    _inner_row(call, "ended", {})
    return result


def _inner_row(call: ModelCall | ToolCall, word: str, body: dict[str, Any]) -> None:
    body |= {"execution": call.execution, "us": _spent(call)}
    tokens = 0
    if isinstance(call, ModelCall):
        body["tokens"] = tokens = call.spent
    else:
        body["args"] = orjson.Fragment(call.given)
    call.governance.ledger.record(
        call.session.id, f"{call.boundary}.{word}", path=call.path, actor=call.name, body=body, tokens=tokens
    )


def _spent(call: NodeCall | ModelCall | ToolCall) -> int:
    """Microseconds since the call began."""
    return (time.perf_counter_ns() - call.started) // 1000


def _failure(error: BaseException) -> tuple[str, dict[str, Any]]:
    if isinstance(error, GraphBubbleUp) or not isinstance(error, Exception):  # an interrupt, a drain, a cancellation
        return "interrupted", {}
    if not isinstance(error, GovernanceError):
        return "failed", {"error": type(error).__name__}
    word = "revised" if isinstance(error, Revise) else "refused"
    return word, {"code": error.code, "reason": error.reason, "facts": error.facts}
