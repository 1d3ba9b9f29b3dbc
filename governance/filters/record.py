"""Writes what happened into the ledger: outermost, so that nothing escapes it."""

from __future__ import annotations

import json
import time
from typing import Any

from langgraph.errors import GraphBubbleUp

from governance import canonical
from governance.call import Flow, ModelCall, NodeCall, Proceed, ToolCall
from governance.errors import GovernanceError, Revise


class NodeRecord:
    """Two rows a node: that it began, and how it ended."""

    def __call__(self, call: NodeCall) -> Flow:
        ledger = call.governance.ledger
        if ledger.broken is not None and call.governance.enforcing:
            ledger.check()
        execution, attempt = call.execution, call.attempt
        ledger.record(
            call.session.id,
            "node.begun",
            path=call.path,
            actor=call.name,
            body={"attempt": attempt, "contract": call.contract.digest, "execution": execution},
        )
        started = time.perf_counter_ns()
        try:
            result = yield Proceed(call)
        except BaseException as error:
            kind, body = _failure(error)
            self._row(call, kind, {**body, "us": (time.perf_counter_ns() - started) // 1000})
            raise
        if call.refusal is not None:  # the node's code may have swallowed it
            kind, body = _failure(call.refusal)
            self._row(call, kind, {**body, "us": (time.perf_counter_ns() - started) // 1000})
            raise call.refusal
        wrote = list(result) if type(result) is dict else type(result).__name__
        spent = (time.perf_counter_ns() - started) // 1000
        ledger.record(
            call.session.id,
            "node.ended",
            path=call.path,
            actor=call.name,
            body={"attempt": attempt, "execution": execution, "us": spent, "wrote": wrote},
        )
        return result

    def _row(self, call: NodeCall, word: str, body: dict[str, Any]) -> None:
        body |= {"attempt": call.attempt, "execution": call.execution}
        call.governance.ledger.record(call.session.id, f"node.{word}", path=call.path, actor=call.name, body=body)


class InnerRecord:
    """One row a model or tool call."""

    def __call__(self, call: ModelCall | ToolCall) -> Flow:
        if call.governance.enforcing:
            call.governance.ledger.check()
        started = time.perf_counter_ns()
        # Before the tool runs: it may change its arguments, and the record shows what it was given.
        args = {} if isinstance(call, ModelCall) else {"args": json.loads(canonical.text(call.args))}
        word, body = "ended", dict[str, Any]()
        try:
            return (yield Proceed(call))
        except BaseException as error:
            word, body = _failure(error)
            raise
        finally:
            tokens = call.spent if isinstance(call, ModelCall) else 0
            body |= {"execution": call.execution, "us": (time.perf_counter_ns() - started) // 1000}
            body |= {"tokens": tokens} if isinstance(call, ModelCall) else args
            call.governance.ledger.record(
                call.session.id,
                f"{call.boundary}.{word}",
                path=call.path,
                actor=call.name,
                body=body,
                tokens=tokens,
            )


def _failure(error: BaseException) -> tuple[str, dict[str, Any]]:
    if isinstance(error, (GeneratorExit, GraphBubbleUp)):  # an interrupt, a drain, a cancellation
        return "interrupted", {}
    if not isinstance(error, GovernanceError):
        return "failed", {"error": type(error).__name__}
    word = "revised" if isinstance(error, Revise) else "refused"
    return word, {"code": error.code, "reason": error.reason, "facts": error.facts}
