"""What stands in for a model or a tool that cannot answer: another model, its last good answer, a plain refusal.

Outside of the attempts, whose last word it hears, and of the budget, in which another model is paid for
like the first one. What it costs beyond that comes out of the retry budget of the dependency that failed.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from langgraph.types import Command

from governance import canonical
from governance.answers import given_anew, outcome_for, plain_answer, plain_result, prompt_digest, told
from governance.call import Effect, Flow, ModelCall, Proceed, ToolCall
from governance.errors import GovernanceError, Unavailable
from governance.failures import weather
from governance.fallbacks import Cached, Plain, Stage, model_name
from governance.falling_back import because, note_refused, note_used
from governance.filters.attempts import asked_by, visible
from governance.filters.authority import check_hosted, check_latch, check_stops
from governance.plane.last_answers import Question
from governance.plane.requests import begun
from governance.tenants import tenant_of


class Fallback:
    """Tries what the contract names for a dependency, in order, then what operators have set for it."""

    def __call__(self, call: ModelCall | ToolCall) -> Flow | None:
        if isinstance(call, ToolCall) and not call.repeats:
            return None  # a block of code: nothing can be its result
        several = call.governance.directory.stages(call)
        return self._standing_in(call, several) if several else None

    def _standing_in(self, call: ModelCall | ToolCall, several: tuple[Stage, ...]) -> Flow:
        try:
            result = yield Proceed(call)
        except Exception as error:
            if not stands_in(call, error):
                raise
            result = yield from self._instead(call, several, error)
            if result is None:
                raise
            return result
        cached = next((one for one in several if isinstance(one, Cached)), None)
        if cached is not None and repeatable(call, result):
            kept = told(result) if isinstance(call, ModelCall) else result
            call.governance.sidecar.last_answers.keep(question(call, cached), kept)
        return result

    def _instead(
        self, call: ModelCall | ToolCall, several: tuple[Stage, ...], error: Exception
    ) -> Generator[Effect, Any, Any]:
        """The first of them that answers; None where none does."""
        for one in several:
            if isinstance(one, Cached):
                result, to = last_answer(call, one), "its last answer"
            elif isinstance(one, Plain):
                result, to = plain(call, one.text), "a plain refusal"
            elif isinstance(call, ModelCall):
                result, to = (yield from self._asked(call, one)), model_name(one)
            else:
                continue
            if result is not None:
                note_used(call, call.name, to, because(error))
                return result
        return None

    def _asked(self, call: ModelCall, model: Any) -> Generator[Effect, Any, Any]:
        """What another model says; None where nothing is left to pay it with, or it cannot answer either."""
        source, to = call.governance.directory.of(call), model_name(model)
        why = call.governance.pays_for(call, source)
        if why is not None:
            note_refused(call, call.name, to, why)
            return None
        other = replace(call, name=to, model=model, spent=0)
        other.form = call.form
        check_latch(call.node)  # it may be over meanwhile: its time is up, or somebody stopped it
        check_stops(call)
        check_hosted(other)
        try:
            return (yield Proceed(other))
        except Exception as error:
            if other.streamed or (isinstance(error, GovernanceError) and not isinstance(error, Unavailable)):
                raise
            if source.rules.retries is not None:
                begun(call).count(asked_by(call, source))  # one more attempt of this request
            note_refused(call, call.name, to, because(error))
            return None
        finally:
            call.spent += other.spent
            call.streamed = call.streamed or other.streamed


def stands_in(call: ModelCall | ToolCall, error: Exception) -> bool:
    """Whether a failure may be answered by something else: the dependency is away, and nothing has happened yet."""
    if isinstance(call, ModelCall):
        if call.streamed:
            return False
    elif call.began and changes(call):
        return False
    retries = call.governance.directory.of(call).rules.retries
    return isinstance(error, Unavailable) or weather(error, retries.on if retries else ()) is not None


def changes(call: ToolCall) -> bool:
    effect = call.governance.effect(call)
    return effect is not None and effect.changes


def repeatable(call: ModelCall | ToolCall, result: Any) -> bool:
    """Whether an answer may be given again later: words of a model, or what a declared read has found.

    Not what a model wants done, which may be wrong by then, nor what a tool found for arguments that do
    not show.
    """
    if isinstance(call, ModelCall):
        answer = told(result) if call.form else None
        return answer is not None and not any(getattr(one, "tool_calls", None) for one in _messages(answer["said"]))
    effect = call.governance.effect(call)
    if effect is None or effect.changes or call.injected & call.args.keys():
        return False
    return not isinstance(result, Command) and getattr(result, "status", None) != "error"


def _messages(said: Any) -> list[Any]:
    return [one for part in said for one in _messages(part)] if isinstance(said, list) else [said]


def question(call: ModelCall | ToolCall, cached: Cached) -> Question:
    """Who asks whom for what; of which session, unless the answer depends on the question alone."""
    if isinstance(call, ModelCall):
        asked = prompt_digest(call.name, call.messages, call.options) + f" {call.form} {call.prompts}"
    else:
        asked = canonical.digest([call.name, visible(call)])
    scope = f"tenant {tenant_of(call)}" if cached.shared else f"session {call.session.id}"
    return (call.governance.directory.of(call).name, scope, asked)


def last_answer(call: ModelCall | ToolCall, cached: Cached) -> Any:
    found = call.governance.sidecar.last_answers.last(question(call, cached), cached.seconds)
    if found is None:
        return None
    return given_anew(found) if isinstance(call, ModelCall) else outcome_for(call.call_id, call.name, found)


def plain(call: ModelCall | ToolCall, text: str) -> Any:
    if isinstance(call, ModelCall):
        return plain_answer(call.form, text, call.prompts)
    return plain_result(call.call_id, call.name, text)
