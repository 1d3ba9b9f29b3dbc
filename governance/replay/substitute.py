"""What stands in place of models and tools in a replay: their recorded answers, results, errors and questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt, interrupt

from governance import answers, errors, raised
from governance.call import Flow, ModelCall, ToolCall
from governance.errors import CutOff, Refusal
from governance.replay.findings import Findings
from governance.replay.recording import Row

if TYPE_CHECKING:
    from governance.replay.calls import Calls


FROM_OUTSIDE = frozenset(
    {
        "abandoned", "budget", "checkpoint", "control", "deadline", "effect-in-doubt", "halted", "ledger",
        "ledger-away", "ledger-behind", "loop",
    }
)  # fmt: skip
"""Refusals that do not follow from the session alone, but from time, from people or from other sessions."""
UNAVAILABLE = {kind.code: kind for kind in (errors.CircuitOpen, errors.Shed, errors.RetriesExhausted)}
"""What a dependency's state came to, which other sessions had a part in: no refusal, a node may go on."""
HAPPENED = ("effect.finished", "effect.reused", "effect.reconciled", "effect.unsettled")
"""After one of these a node is not run again for quality."""


class Substitute:
    """Innermost at the boundaries of models and tools, which are never reached."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    def __call__(self, call: ModelCall | ToolCall) -> Flow:
        row = self.calls.row(call)
        self.calls.reached.add(call.execution)
        if isinstance(call, ToolCall):
            call.began = True
            if any(self.calls.noted(kind, row) for kind in HAPPENED):
                call.node.effect_done()
            self._ask(row)
        return self._given(call, row)
        yield  # a filter that answers by itself is a generator that asks for nothing

    def _ask(self, row: Row) -> None:
        """The questions that the tool's own code asked: answered where they were, else the run stops here."""
        for question in self.calls.asked_by(row):
            interrupt(question)
        if cards := self.calls.cards_within(row):
            raise GraphInterrupt(tuple(Interrupt(value=one["value"], id=one["id"]) for one in cards))

    def _given(self, call: ModelCall | ToolCall, row: Row) -> Any:
        calls, findings = self.calls, self.calls.findings
        if row.word == "ended" and not calls.noted("tool.answered", row):
            return recorded_answer(findings, row)
        if row.word == "failed":
            raise raised.given_back(findings.value(row, "raised"))
        if row.body.get("code") in UNAVAILABLE:
            raise UNAVAILABLE[row.body["code"]](str(row.body.get("reason")), **(row.body.get("facts") or {}))
        if row.body.get("began"):
            raise call.node.refuse(given_again(row))
        if row.word == "interrupted" and "asked" not in row.body:
            raise CutOff(f"{call.path} was cut off in the record")
        was = "waited for a person" if row.word == "interrupted" else "was refused"
        raise findings.diverge(call.path, "outcome", row, f"{call.name} {was} in the record, and went on now")


def recorded_answer(findings: Findings, row: Row) -> Any:
    """What the caller of a model or tool was given."""
    if row.boundary == "tool":
        return findings.value(row, "result")
    said, form = findings.value(row, "answer"), row.body["form"]
    return answers.given_back({"form": form, "said": said[0] if form == "one" else said})


def given_again(row: Row) -> Refusal:
    """A recorded refusal, as the error that it was."""
    code = str(row.body.get("code"))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Refusal)]
    kind = next((one for one in kinds if one.code == code), Refusal)
    refusal = kind(str(row.body.get("reason")), code=code)
    refusal.facts = dict(row.body.get("facts") or {})
    return refusal
