"""Writes what happened into the ledger: outermost, so that nothing escapes it."""

from __future__ import annotations

import time
from typing import Any

from governance.call import Call, Flow, ModelCall, NodeCall, Proceed, ToolCall
from governance.errors import Escalate, GovernanceError, Revise


class Record:
    """Two rows a node (begun, ended), one a model or tool call, each refusal with its reason."""

    def __call__(self, call: Call) -> Flow:
        ledger = call.governance.ledger
        if call.governance.enforcing:
            ledger.check()
        node = isinstance(call, NodeCall)
        if node:
            self._row(call, "node.begun", {"contract": call.contract.digest})
        started = time.perf_counter_ns()
        try:
            result = yield Proceed(call)
        except GovernanceError as error:
            self._row(call, f"{call.boundary}.{_word(error)}", _refusal(error, started))
            raise
        except GeneratorExit:
            self._row(call, f"{call.boundary}.interrupted", {"us": _us(started)})
            raise
        except Exception as error:
            self._row(call, f"{call.boundary}.failed", {"error": type(error).__name__, "us": _us(started)})
            raise
        self._row(call, f"{call.boundary}.ended", _ended(call, result, started), _spent(call))
        return result

    def _row(self, call: Call, kind: str, body: dict[str, Any], tokens: int = 0) -> None:
        body["execution"] = call.execution
        if isinstance(call, NodeCall):
            body["attempt"] = call.attempt
        call.governance.ledger.record(
            call.session.id, kind, path=call.path, actor=call.name, body=body, tokens=tokens
        )


def _word(error: GovernanceError) -> str:
    if isinstance(error, Revise):
        return "revised"
    return "escalated" if isinstance(error, Escalate) else "refused"


def _refusal(error: GovernanceError, started: int) -> dict[str, Any]:
    return {"code": error.code, "reason": error.reason, "facts": error.facts, "us": _us(started)}


def _us(started: int) -> int:
    return (time.perf_counter_ns() - started) // 1000


def _ended(call: Call, result: Any, started: int) -> dict[str, Any]:
    body: dict[str, Any] = {"us": _us(started)}
    if isinstance(call, NodeCall):
        body["wrote"] = list(result) if isinstance(result, dict) else type(result).__name__
    elif isinstance(call, ToolCall):
        body["args"] = dict(call.args)
    elif isinstance(call, ModelCall):
        body["tokens"] = _spent(call)
    return body


def _spent(call: Call) -> int:
    return call.spent if isinstance(call, ModelCall) else 0
