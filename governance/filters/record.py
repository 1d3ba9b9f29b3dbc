"""Writes what happened into the ledger: outermost, so that nothing escapes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command, Send

from governance import canonical
from governance.call import After, Flow, ModelCall, NodeCall, Proceed, Run, ToolCall, also_told
from governance.errors import GovernanceError, Revise
from governance.plane.ledger import encoded
from governance.plane.ledger_rows import Facts
from governance.plane.waiting import EVENTS as QUEUE_LIMIT


def node_record(call: NodeCall) -> After | Flow | None:
    """Two rows a node: that it began, and how it ended."""
    # `recorded` written out, without asking for bytes: rows of nodes weigh nothing, and a node is a hot path.
    ledger = call.governance.ledger
    if ledger.broken is not None or len(ledger.waiting) > QUEUE_LIMIT:
        return troubled(call, node_begun, rows=2)
    return node_begun(call)


def node_begun(call: NodeCall) -> After:
    call.governance.ledger.note(call.session.id, "node.begun", call.path, call.name, (_begun, call.attempt,
                                call.contract.digest, call.execution, call.governance.policy.digest))  # fmt: skip
    call.started = time.perf_counter_ns()
    return _node_ended


def recorded(call: Any, begin: Callable[[Any], After], *, rows: int) -> After | Flow | None:
    """What `begin` writes, as far as the record can take it."""
    ledger = call.governance.ledger
    if ledger.broken is not None or ledger.behind:
        return troubled(call, begin, rows=rows)
    return begin(call)


def troubled(call: Any, begin: Callable[[Any], After], *, rows: int) -> After | Flow | None:
    """What becomes of a call where the record is broken, or too far behind to take more.

    Enforcing, it raises, or waits for room; observing, the rows are left out and counted.
    """
    ledger = call.governance.ledger
    if not call.governance.enforcing:
        if not ledger.behind:
            return begin(call)
        ledger.drop(rows)
        return None
    if ledger.broken is not None:
        ledger.check()
    return _waited(call, begin)


def _waited(call: Any, begin: Callable[[Any], After]) -> Flow:
    yield Run(call.governance.ledger.wait_room)
    after = begin(call)
    try:
        result = yield Proceed(call)
    except BaseException as error:
        after.failed(call, error)  # type: ignore[attr-defined]  # every recorder hears of errors
        raise
    return after(call, result)


def node_failed(call: NodeCall, error: BaseException) -> None:
    word, body = failure(error)
    body |= {"attempt": call.attempt, "execution": call.execution, "us": spent(call)}
    call.governance.ledger.record(call.session.id, f"node.{word}", path=call.path, actor=call.name, body=body)


@also_told(node_failed)
def _node_ended(call: NodeCall, result: Any) -> Any:
    if call.refusal is not None:  # the node's code may have swallowed it
        node_failed(call, call.refusal)
        raise call.refusal
    wrote = tuple(result) if type(result) is dict else type(result).__name__
    facts: Facts = (_ended, call.attempt, call.execution, spent(call), wrote)
    if type(result) is Command and result.goto:
        facts = (_handed_over, *facts[1:], handed(result))
    call.governance.ledger.note(call.session.id, "node.ended", call.path, call.name, facts)
    return result


def handed(result: Any) -> tuple[str, ...]:
    """The nodes an update hands over to by itself; edges say the rest."""
    goto = result.goto if isinstance(result, Command) else ()
    aims = goto if isinstance(goto, (list, tuple)) else (goto,)
    return tuple(str(aim.node if isinstance(aim, Send) else aim) for aim in aims)


# Canonical JSON written out: digests and execution ids are ASCII without anything to escape.


def _begun(attempt: int, contract: str, execution: str, policy: str) -> str:
    return f'{{"attempt":{attempt},"contract":"{contract}","execution":"{execution}","policy":"{policy}"}}'


def _ended(attempt: int, execution: str, us: int, wrote: str | tuple[str, ...]) -> str:
    return f'{{"attempt":{attempt},"execution":"{execution}","us":{us},"wrote":{encoded(wrote)}}}'


def _handed_over(attempt: int, execution: str, us: int, wrote: str | tuple[str, ...], to: tuple[str, ...]) -> str:
    return encoded({"attempt": attempt, "execution": execution, "to": to, "us": us, "wrote": wrote})


def inner_record(call: ModelCall | ToolCall) -> After | Flow | None:
    """One row a model or tool call."""
    return recorded(call, inner_begun, rows=1)


def inner_begun(call: ModelCall | ToolCall) -> After:
    if isinstance(call, ToolCall):
        # Before the tool runs: it may change its arguments, and the record shows what it was given.
        call.given = canonical.encode(call.args)
    call.started = time.perf_counter_ns()
    return _inner_ended


def _inner_failed(call: ModelCall | ToolCall, error: BaseException) -> None:
    inner_row(call, *failure(error))


@also_told(_inner_failed)
def _inner_ended(call: ModelCall | ToolCall, result: Any) -> Any:
    inner_row(call, "ended", {})
    return result


def inner_row(
    call: ModelCall | ToolCall, word: str, body: dict[str, Any], payloads: Mapping[str, Any] | None = None
) -> None:
    """How a model or tool call ended, in which execution of a node, and under which rules it was made."""
    governance = call.governance
    body |= {"of": call.node.execution, "execution": call.execution}
    body |= {"contract": call.contract.digest, "policy": governance.policy.digest}
    body["us"] = spent(call)
    tokens = 0
    if isinstance(call, ModelCall):
        body["tokens"] = tokens = call.spent
    else:
        body["args"] = orjson.Fragment(call.given)
        if call.began and word == "refused":  # by something that its own code did
            body["began"] = True
    governance.ledger.record(
        call.session.id, f"{call.boundary}.{word}", path=call.path, actor=call.name, body=body, tokens=tokens,
        payloads=payloads,
    )  # fmt: skip


def spent(call: NodeCall | ModelCall | ToolCall) -> int:
    """Microseconds since the call began."""
    return (time.perf_counter_ns() - call.started) // 1000


def failure(error: BaseException) -> tuple[str, dict[str, Any]]:
    """How an error reads on record."""
    if isinstance(error, GraphBubbleUp) or not isinstance(error, Exception):  # an interrupt, a drain, a cancellation
        return "interrupted", {}
    if not isinstance(error, GovernanceError):
        return "failed", {"error": type(error).__name__}
    word = "revised" if isinstance(error, Revise) else "refused"
    return word, {"code": error.code, "reason": error.reason, "facts": error.facts}
