"""Writes down what was said too: prompts and answers, results and inputs, and whose run it is.

Only where a policy asks for it; without one the recorders of `governance.filters.record` stand in the
chain themselves and pay for nothing of this.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langgraph.types import Command

from governance import answers, raised
from governance.call import After, Flow, ModelCall, NodeCall, ToolCall, also_told
from governance.filters.budget import messages_of
from governance.filters.record import (
    failure,
    handed,
    inner_begun,
    inner_record,
    inner_row,
    node_begun,
    node_record,
    recorded,
    spent,
)
from governance.plane.payloads import Value, serialised
from governance.runs import Begun, Rested

if TYPE_CHECKING:
    from governance.policy import LedgerPolicy
    from governance.sidecar import Governance

KNOWN = 4096
"""Sessions remembered as told; whoever comes again after being forgotten is told again, which harms nobody."""


@dataclass(frozen=True, slots=True)
class Records:
    """The recorders of a chain; `begun` and `rested` hear of each run where anybody asked for that."""

    node: Callable[[NodeCall], After | Flow | None] = node_record
    inner: Callable[[ModelCall | ToolCall], After | Flow | None] = inner_record
    begun: Callable[[Governance, str, Begun], None] | None = None
    rested: Callable[[Governance, str, Rested], None] | None = None
    changed: Callable[[Governance, str, Any], None] | None = None
    """Hears of a state that was changed past the nodes."""


def records_of(rules: LedgerPolicy) -> Records:
    """What a policy wants on record."""
    if rules.payloads == "none":
        return Records(Persons(rules.person).node) if rules.person else Records()
    everything = rules.payloads == "all"
    nodes = Persons(rules.person, everything=everything)
    return Records(nodes.node, _inner, run_begun, run_rested if everything else None, run_changed)


def run_begun(governance: Governance, session: str, begun: Begun) -> None:
    """What a run was given: its input, or the answer to a question; None where it only goes on."""
    given, kind, payloads = begun.given, "run.resumed", dict[str, Any]()
    if isinstance(given, Command):
        payloads = {name: value for name in COMMANDED if (value := getattr(given, name)) not in (None, ())}
    elif given is not None:
        kind, payloads = "run.input", {"input": given}
    body: dict[str, Any] = {"async": not begun.plainly, "saved": begun.saved, "limit": begun.limit}
    body |= {name: stops for name in ("before", "after") if (stops := getattr(begun, name))}
    if begun.rewinds:
        body["rewinds"] = True
    if begun.configured:
        known = {key: value for key, value in begun.configured.items() if not SECRET.search(key)}
        payloads["configured"] = known
        body |= {"withheld": withheld} if (withheld := [key for key in begun.configured if key not in known]) else {}
    if begun.context is not None:
        payloads["context"] = begun.context
    _record_run(governance, session, kind, body, payloads)


SECRET = re.compile(r"(^|[_-])(api_?key|key|token|secret|password|credentials?|authorization|headers?)$", re.I)
"""Settings of a run, and options of a model, whose values are on no record, whatever a policy says."""
COMMANDED = ("resume", "update", "goto")


def run_rested(governance: Governance, session: str, rested: Rested) -> None:
    body = {"end": rested.end, **({"error": rested.error} if rested.error else {})}
    state = {} if rested.state is None else {"state": rested.state}
    _record_run(governance, session, "run.rested", body, state)


def run_changed(governance: Governance, session: str, supersteps: Any) -> None:
    updates = [[(one.values, one.as_node) for one in step] for step in supersteps]
    _record_run(governance, session, "run.changed", {}, {"updates": updates})


def _record_run(governance: Governance, session: str, kind: str, body: dict[str, Any], payloads: Any) -> None:
    """Enforcing, a run that begins without a record comes to no node; observing, the row is left out and counted."""
    ledger = governance.ledger
    if not governance.enforcing and (ledger.broken is not None or ledger.behind):
        ledger.drop()
        return
    ledger.record(session, kind, body=body, payloads=payloads)


@dataclass(slots=True)
class Persons:
    """Records nodes, and once a session whose run it is."""

    key: str | None
    everything: bool = False
    _told: dict[tuple[str, str], None] = field(default_factory=dict)

    def node(self, call: NodeCall) -> After | Flow | None:
        return recorded(call, self._begin, rows=2)

    def _begin(self, call: NodeCall) -> After:
        if self.key is not None:
            self._tell_person(call, self.key)
        return _node_begun(call) if self.everything else node_begun(call)

    def _tell_person(self, call: NodeCall, key: str) -> None:
        person = (call.config.get("configurable") or {}).get(key)
        if person is not None and self._is_new(call.session.id, str(person)):
            call.governance.ledger.record(call.session.id, "session.person", digests={"person": str(person)})

    def _is_new(self, session: str, what: str) -> bool:
        if (session, what) in self._told:
            return False
        while len(self._told) >= KNOWN:
            self._told.pop(next(iter(self._told)), None)
        self._told[session, what] = None
        return True


def _node_begun(call: NodeCall) -> After:
    body = {
        "attempt": call.attempt, "contract": call.contract.digest, "execution": call.execution,
        "policy": call.governance.policy.digest,
    }  # fmt: skip
    call.governance.ledger.record(
        call.session.id, "node.begun", path=call.path, actor=call.name, body=body, payloads={"input": seen(call)}
    )
    call.started = time.perf_counter_ns()
    return _node_ended


def seen(call: NodeCall) -> Any:
    """What the contract lets the node see of the state."""
    raw, reads = call.raw, call.contract.reads
    if reads is None or not call.projects or not isinstance(raw, Mapping):
        return raw
    return {key: raw[key] for key in reads if key in raw}


def _node_failed(call: NodeCall, error: BaseException) -> None:
    word, body = failure(error)
    body |= {"attempt": call.attempt, "execution": call.execution, "us": spent(call)}
    call.governance.ledger.record(
        call.session.id, f"node.{word}", path=call.path, actor=call.name, body=body, payloads=trouble(word, error)
    )


def trouble(word: str, error: BaseException) -> dict[str, Any]:
    """What an error held: the error itself, or the questions of an interrupt."""
    if word == "failed":
        return {"raised": raised.told(error)}
    questions = raised.asked(error)
    return {} if questions is None else {"asked": questions}


@also_told(_node_failed)
def _node_ended(call: NodeCall, result: Any) -> Any:
    if call.refusal is not None:  # the node's code may have swallowed it
        _node_failed(call, call.refusal)
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
    return recorded(call, _inner_begun, rows=1)


def _inner_begun(call: ModelCall | ToolCall) -> After:
    inner_begun(call)
    if isinstance(call, ToolCall):
        return _Ended({})
    given = {"prompt": serialised(list(call.messages), call.governance.ledger.redaction)}
    if options := open_options(call):
        given["options"] = serialised(options, call.governance.ledger.redaction)
    return _Ended(given)


def open_options(call: ModelCall) -> dict[str, Any]:
    """The options of a model call that may be on record."""
    return {name: value for name, value in call.options.items() if not SECRET.search(name)}


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a call ended, with what it was asked: put into bytes before it began, as it may change its messages."""

    given: dict[str, Value]

    def __call__(self, call: ModelCall | ToolCall, result: Any) -> Any:
        if isinstance(call, ModelCall):
            body, payloads = answered(result)
        else:
            body, payloads = {}, {"result": result}
        inner_row(call, "ended", body, {**self.given, **payloads})
        return result

    def failed(self, call: ModelCall | ToolCall, error: BaseException) -> None:
        word, body = failure(error)
        inner_row(call, word, body, {**self.given, **trouble(word, error)})


def answered(result: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's answer as a list, and its form, without which it could not be given back."""
    answer = answers.told(result)
    if answer is None:
        return {}, {"answer": messages_of(result)}
    said = answer["said"]
    return {"form": answer["form"]}, {"answer": [said] if answer["form"] == "one" else said}


__all__ = ["Persons", "Records", "open_options", "records_of", "seen"]
