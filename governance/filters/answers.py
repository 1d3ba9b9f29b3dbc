"""What was said and read on the way to an effect is said again when the node runs again: the effect stays the same."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from governance import canonical
from governance.answers import Answer, given_back, outcome_for, prompt_digest, told
from governance.call import Call, Effect, Flow, ModelCall, Proceed, Run, ToolCall
from governance.plane.answers import Said


class ReusedAnswers:
    """For models of graphs that have effects, in runs that can be resumed; a first run only stores what was said."""

    def __call__(self, call: ModelCall) -> Flow:
        if not _may_matter(call):
            return (yield Proceed(call))
        question = _question(call, prompt_digest(call.name, call.messages, call.options))
        answer = yield from _said(call, question)
        if answer is not None:
            return given_back(answer)
        result = yield Proceed(call)
        said = told(result)
        if said is not None:
            yield from _keep(call, question, said)
        return result


class ReusedReads:
    """The same for tools that change nothing, or say nothing of it: what they saw then is what was acted upon."""

    def __call__(self, call: ToolCall) -> Flow:
        effect = call.governance.effect(call)
        if (effect is not None and effect.changes) or not _may_matter(call):
            return (yield Proceed(call))
        args = {name: value for name, value in call.args.items() if name not in call.injected}
        question = _question(call, canonical.digest([call.name, args]))
        answer = yield from _said(call, question)
        if answer is not None:
            call.reused = True
            return outcome_for(call.call_id, call.name, answer["said"])
        result = yield Proceed(call)
        yield from _keep(call, question, {"form": "tool", "said": result})
        return result


def _question(call: ModelCall | ToolCall, asked: str) -> tuple[str, str]:
    """Where it is asked, and what, with a number where that is asked again there.

    Not by the call's own ordinal: threads of a node begin in another order each time.
    """
    place = _place(call).rpartition(".")[0]
    return place, f"{asked}.{call.node.next_ordinal(f'{place}:{asked}')}"


def _said(call: ModelCall | ToolCall, question: tuple[str, str]) -> Generator[Effect, Any, Answer | None]:
    answers = call.governance.effects.answers
    answer: Answer | None = yield Run(lambda: answers.at(*question) if _stands(call) else None)
    if answer is not None:
        call.governance.ledger.record(
            call.session.id, f"{call.boundary}.reused", path=call.path, actor=call.name,
            body={"execution": call.execution},
        )  # fmt: skip
    return answer


def _keep(call: ModelCall | ToolCall, question: tuple[str, str], answer: Answer) -> Generator[Effect, Any, None]:
    place, asked = question
    said = Said(place, call.session.id, asked, answer)
    yield Run(lambda: call.governance.effects.answers.keep(said))


def _place(call: Call) -> str:
    return f"{call.session.id}/{call.governance.place(call)}"


def _may_matter(call: Call) -> bool:
    """Whether an effect can follow, by some contract above, and its node may run again."""
    part: Call | None = call
    while part is not None:
        if part.governance.may_act:
            return call.governance.resumable(call)
        part = part.parent
    return False


def _stands(call: Call) -> bool:
    """Not where a node runs again for quality, and no effect of its last attempt has begun: it asks anew."""
    part: Call | None = call
    while part is not None:
        node, session = part.node, part.session
        if node.path in session.revised:
            if node.attempt == 1:  # another run has come to this place
                session.mark_revised(node.path, False)
            elif not call.governance.effects.happened_beneath(_place(node)):
                return False
        part = node.parent
    return True
