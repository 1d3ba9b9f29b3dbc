"""Writes down what was said too: prompts and answers, results and inputs, and whose run it is.

Only where a policy asks for it; without one the recorders of `governance.filters.record` stand in the
chain themselves and pay for nothing of this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langgraph.types import Command

from governance.call import After, Flow, ModelCall, NodeCall, ToolCall, also_told
from governance.filters.budget import messages_of
from governance.filters.record import (
    failure,
    handed,
    inner_begun,
    inner_record,
    inner_row,
    node_begun,
    node_failed,
    node_record,
    spent,
    troubled,
)
from governance.plane.payloads import Value, serialised

if TYPE_CHECKING:
    from governance.policy import LedgerPolicy
    from governance.sidecar import Governance

KNOWN = 4096
"""Sessions remembered as told; whoever comes again after being forgotten is told again, which harms nobody."""


@dataclass(frozen=True, slots=True)
class Records:
    """The recorders of a chain; `run` hears of each run's input where anybody asked for that."""

    node: Callable[[NodeCall], After | Flow | None] = node_record
    inner: Callable[[ModelCall | ToolCall], After | Flow | None] = inner_record
    run: Callable[[Governance, str, Any], None] | None = None


def records_of(rules: LedgerPolicy) -> Records:
    """What a policy wants on record."""
    if rules.payloads == "none":
        return Records(Persons(rules.person).node) if rules.person else Records()
    nodes = Persons(rules.person, inputs=True, everything=rules.payloads == "all")
    return Records(nodes.node, _inner, run_input)


def run_input(governance: Governance, session: str, given: Any) -> None:
    """What a run of a thread was given; an answer to a question is in the state of its node."""
    if session and given is not None and not isinstance(given, Command):
        governance.ledger.record(session, "run.input", payloads={"input": given})


@dataclass(slots=True)
class Persons:
    """Records nodes, and once a session whose run it is."""

    key: str | None
    inputs: bool = False
    everything: bool = False
    _told: dict[tuple[str, str], None] = field(default_factory=dict)

    def node(self, call: NodeCall) -> After | Flow | None:
        ledger = call.governance.ledger
        if ledger.broken is not None or ledger.behind:
            return troubled(call, self._begin, rows=2)
        return self._begin(call)

    def _begin(self, call: NodeCall) -> After:
        if self.key is not None:
            self._tell_person(call, self.key)
        if self.inputs and call.parent is None and call.session.id.startswith("run-"):
            self._tell_input(call)
        return _node_begun(call) if self.everything else node_begun(call)

    def _tell_person(self, call: NodeCall, key: str) -> None:
        person = (call.config.get("configurable") or {}).get(key)
        if person is not None and self._is_new(call.session.id, str(person)):
            call.governance.ledger.record(call.session.id, "session.person", digests={"person": str(person)})

    def _tell_input(self, call: NodeCall) -> None:
        """A run without a thread gets its name with its first node, which is given what the run was given."""
        if self._is_new(call.session.id, ""):
            call.governance.ledger.record(call.session.id, "run.input", payloads={"input": call.raw})

    def _is_new(self, session: str, what: str) -> bool:
        if (session, what) in self._told:
            return False
        while len(self._told) >= KNOWN:
            self._told.pop(next(iter(self._told)), None)
        self._told[session, what] = None
        return True


def _node_begun(call: NodeCall) -> After:
    body = {"attempt": call.attempt, "contract": call.contract.digest, "execution": call.execution}
    call.governance.ledger.record(
        call.session.id, "node.begun", path=call.path, actor=call.name, body=body, payloads={"input": _seen(call)}
    )
    call.started = time.perf_counter_ns()
    return _node_ended


def _seen(call: NodeCall) -> Any:
    """What the contract lets the node see of the state."""
    raw, reads = call.raw, call.contract.reads
    if reads is None or not call.projects or not isinstance(raw, Mapping):
        return raw
    return {key: raw[key] for key in reads if key in raw}


@also_told(node_failed)
def _node_ended(call: NodeCall, result: Any) -> Any:
    if call.refusal is not None:  # the node's code may have swallowed it
        node_failed(call, call.refusal)
        raise call.refusal
    body = {"attempt": call.attempt, "execution": call.execution, "us": spent(call)}
    body["wrote"] = tuple(result) if type(result) is dict else type(result).__name__
    if to := handed(result):
        body["to"] = to
    call.governance.ledger.record(
        call.session.id, "node.ended", path=call.path, actor=call.name, body=body, payloads={"update": result}
    )
    return result


def _inner(call: ModelCall | ToolCall) -> After | Flow | None:
    ledger = call.governance.ledger
    if ledger.broken is not None or ledger.behind:
        return troubled(call, _inner_begun, rows=1)
    return _inner_begun(call)


def _inner_begun(call: ModelCall | ToolCall) -> After:
    inner_begun(call)
    if isinstance(call, ToolCall):
        return _Ended({})
    return _Ended({"prompt": serialised(list(call.messages), call.governance.ledger.redaction)})


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a call ended, with what it was asked: put into bytes before it began, as it may change its messages."""

    given: dict[str, Value]

    def __call__(self, call: ModelCall | ToolCall, result: Any) -> Any:
        answer = {"answer": messages_of(result)} if isinstance(call, ModelCall) else {"result": result}
        inner_row(call, "ended", {}, {**self.given, **answer})
        return result

    def failed(self, call: ModelCall | ToolCall, error: BaseException) -> None:
        inner_row(call, *failure(error), self.given)


__all__ = ["Persons", "Records", "records_of", "run_input"]
