"""Watches models and tools: what each is asked is held against the record, and it answers what it answered then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from governance import raised
from governance.call import After, Flow, ModelCall, Proceed, Sleep, ToolCall
from governance.errors import CutOff
from governance.filters.record import inner_begun
from governance.filters.record_payloads import open_options
from governance.replay.alike import Difference
from governance.replay.divergence import What
from governance.replay.findings import Findings
from governance.replay.nodes import Nodes, Repeated
from governance.replay.outcomes import check_ended, check_failed, is_card
from governance.replay.recording import Row
from governance.replay.substitute import FROM_OUTSIDE, given_again, recorded_answer
from governance.replay.transcript import Call

PATIENCE = 2.0
"""Seconds to wait for a call that came earlier in the record: a thread or task may have yet to make it."""
POLL = 0.002
OUR_OWN = ("metadata", "tags", "callbacks", "config", "run_id", "run_name")
"""Options of a model that never reach it: they tell LangChain where the call belongs."""
OTHER = {
    "prompt": "the model was asked something else",
    "options": "the model was asked with other options",
    "arguments": "the tool was given other arguments",
}
Asked = dict[What, Any]
Compare = Callable[[Any, Any], Difference | None]


class Calls:
    """The outermost filter of every model and tool; `Substitute` is the innermost."""

    def __init__(self, findings: Findings, nodes: Nodes) -> None:
        self.findings = findings
        self.nodes = nodes
        self.count = 0
        self.reached: set[str] = set()
        """Those that passed all other filters, and would have reached their model or tool."""
        self._rows: dict[str, Row] = {}
        self._questions: dict[str, list[Row]] = {}
        self._kinds: dict[str, set[Any]] = {}
        for row in findings.recording.rows:
            self._kinds.setdefault(row.kind, set()).add(row.body.get("execution"))

    def __call__(self, call: ModelCall | ToolCall) -> After | Flow:
        self.findings.check_over()
        inner_begun(call)
        within = self.nodes.of(call.node)
        if within is None:
            raise CutOff(f"{call.path} was called outside of everything that is watched")
        asked = self._asked(call)
        recorded = self._taken(call, asked, within)
        if _earlier(recorded, within) is not None:
            return self._waited(call, asked, recorded, within)
        return self._begun(call, asked, recorded, within)

    def row(self, call: ModelCall | ToolCall) -> Row:
        """The row that says what came of this call."""
        return self._rows[call.execution]

    def noted(self, kind: str, row: Row) -> bool:
        """Whether the record has a row of this kind about the same call."""
        return row.body.get("execution") in self._kinds.get(kind, ())

    def _waited(self, call: ModelCall | ToolCall, asked: Asked, recorded: Call, within: Repeated) -> Flow:
        until = time.monotonic() + PATIENCE
        while (earlier := _earlier(recorded, within)) is not None and time.monotonic() < until:
            yield Sleep(POLL)
        if earlier is not None:
            reason = f"it was called before {earlier.row.path}, which came first in the record"
            raise self.findings.diverge(call.path, "order", recorded.row, reason)
        after = self._begun(call, asked, recorded, within)
        try:
            result = yield Proceed(call)
        except GeneratorExit:  # how a filter hears of a question to a person
            self.note_question(call.path, recorded.row)
            raise
        except Exception as error:
            after.failed(call, error)
            raise
        return after(call, result)

    def _taken(self, call: ModelCall | ToolCall, asked: Asked, within: Repeated) -> Call:
        """The recorded call behind this one: that of its ordinal, else, as threads come as they like, of its words."""
        with self.findings.lock:
            left = [one for one in within.left() if one.family == call.path.rpartition(".")[0]]
            if not left:
                raise self._unrecorded(call, within)
            own = next((one for one in left if one.row.path == call.path), left[0])
            likely = (
                one for one in (own, *left) if self._other(asked, one.row, self.findings.likeness.looked_at) is None
            )
            found = own if len(left) == 1 else next(likely, own)
            within.taken.add(found)
            self._rows[call.execution] = found.row
            self.count += 1
        return found

    def _unrecorded(self, call: ModelCall | ToolCall, within: Repeated) -> Exception:
        ended = within.recorded.ended
        if (within.recorded.cut and self.findings.may_differ(call.path)) or _refused_from_outside(ended):
            return CutOff(f"the record of {call.node.path} was cut off")
        if within.recorded.cut:
            reason = f"{call.name} was called; whether it was in the record, nobody knows: a kill took its last rows"
            return self.findings.diverge(call.path, "incomplete", within.recorded.begun, reason)
        reason = f"{call.name} was called, and was not in the record"
        return self.findings.diverge(call.path, "unrecorded", ended, reason)

    def _begun(self, call: ModelCall | ToolCall, asked: Asked, recorded: Call, within: Repeated) -> InnerEnds:
        with self.findings.lock:
            within.made.add(recorded)
        other = self._other(asked, recorded.row, self.findings.likeness.difference)
        if other is not None:
            raise self.findings.diverge(call.path, other[0], recorded.row, OTHER[other[0]], other[1])
        if _refused_from_outside(recorded.row):
            raise call.node.refuse(given_again(recorded.row))
        return InnerEnds(self, recorded.row)

    def _asked(self, call: ModelCall | ToolCall) -> Asked:
        """What is asked, as its record would be."""
        if isinstance(call, ToolCall):
            return {"arguments": self.findings.redaction.plain(orjson.loads(call.given))}
        return {
            "prompt": self.findings.tree(list(call.messages)),
            "options": _options(self.findings.tree(open_options(call))),
        }

    def _other(self, asked: Asked, row: Row, compare: Compare) -> tuple[What, Difference] | None:
        """What differs in what is asked."""
        for what, came in asked.items():
            if what == "arguments":
                recorded = row.body.get("args")
            else:
                recorded = self.findings.recording.tree(row, what) if what in row.body else {}
            if what == "options":
                recorded = _options(recorded)
            difference = compare(recorded, came)
            if difference is not None:
                return what, difference
        return None

    def answered(self, call: ModelCall | ToolCall, row: Row, result: Any) -> Any:
        """What the caller was given in the record, whatever filters would make of it once more.

        Where nobody was asked (a refusal that is given as an answer, an effect found again), it has to be that too.
        """
        if call.execution not in self.reached and isinstance(call, ToolCall):
            reason = "it was answered with something else"
            self.findings.compare(call.path, "outcome", row, "result", result, reason)
            return result
        return recorded_answer(self.findings, row)

    def asked_by(self, row: Row) -> list[Any]:
        """What the code of a tool asks on its way, as far as it got: answered questions come again, then its own."""
        rows = [*self._questions.get(row.path, ()), *([row] if "asked" in row.body else ())]
        change = self.findings.likeness.pairs.forward_bytes
        found = [one for each in rows for one in self.findings.recording.value(each, "asked", change)]
        return [one["value"] for one in found if not is_card(one)]

    def cards_within(self, row: Row) -> list[Any]:
        """Approvals that were asked for by what ran within a tool, which does not run now."""
        if "asked" not in row.body:
            return []
        return [one for one in self.findings.recording.value(row, "asked") if self._asked_at(one) not in ("", row.path)]

    def _asked_at(self, question: Any) -> str:
        rows = self.findings.recording.rows
        found = (row.path for row in rows if row.kind == "approval.asked" and row.body.get("card") == question["id"])
        return next(found, "") if is_card(question) else ""

    def note_question(self, path: str, row: Row) -> None:
        if "asked" in row.body:
            self._questions.setdefault(path, []).append(row)

    def dry_run(self, call: ToolCall) -> Any:
        """What a tool's dry run told the person who was asked; raises what it raised where nobody was."""
        row = self.row(call)
        if row.word == "failed":
            raise raised.given_back(self.findings.value(row, "raised"))
        asked = self.findings.recording.tree(row, "asked") if "asked" in row.body else ()
        return next((one["value"]["evidence"]["dry_run"] for one in asked if is_card(one)), None)


@dataclass(frozen=True, slots=True)
class InnerEnds:
    """Hears how a model or tool call ended, and gives back what was recorded."""

    calls: Calls
    row: Row

    def __call__(self, call: ModelCall | ToolCall, result: Any) -> Any:
        self.calls.findings.check_over()
        check_ended(self.calls.findings, call.path, self.row)
        return self.calls.answered(call, self.row, result)

    def failed(self, call: ModelCall | ToolCall, error: BaseException) -> None:
        if self.calls.findings.first is None:
            check_failed(self.calls.findings, call.path, self.row, error)
            self.calls.note_question(call.path, self.row)


def _earlier(recorded: Call, within: Repeated) -> Call | None:
    """A call that had to come before this one and has yet to be made: it had ended before this one began.

    A refusal from outside also waits for those that ran beside it: it ends the node for all that come after.
    """
    refused = _refused_from_outside(recorded.row)
    for one in within.recorded.calls:
        before = one.end < recorded.begin
        beside = refused and one.begin < recorded.end and not _refused_from_outside(one.row)
        if (before or beside) and one not in within.made:
            return one
    return None


def _options(given: Any) -> Any:
    return {name: value for name, value in given.items() if name not in OUR_OWN} if isinstance(given, dict) else given


def _refused_from_outside(ended: Row | None) -> bool:
    return ended is not None and ended.body.get("code") in FROM_OUTSIDE
