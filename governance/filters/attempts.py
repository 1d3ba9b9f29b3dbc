"""Tries of one model or tool call: how many, how soon, and at whose expense; the only loop of ours.

What holds: a request asks a dependency for the same at one place at most `attempts` times, over all layers
that retry; all requests together retry at most `ratio` of their first tries, plus a burst. A tool is tried
again by itself only where it declares that a repeat is harmless.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from governance import canonical
from governance.answers import prompt_digest
from governance.call import Effect, Flow, ModelCall, Proceed, Run, Sleep, ToolCall
from governance.errors import GovernanceError, RetriesExhausted
from governance.filters.authority import check_latch, check_stops
from governance.plane.dependencies import Dependency
from governance.plane.requests import Asked, request_of
from governance.reruns import failed, note, say, unaffordable, wait_before, why_not


class Attempts:
    """Retries what may pass by itself, within the limits of the request and of the dependency."""

    def __call__(self, call: ModelCall | ToolCall) -> Flow | None:
        dependency = call.governance.directory.of(call)
        return None if dependency.rules.retries is None else self._tried(call, dependency)

    def _tried(self, call: ModelCall | ToolCall, dependency: Dependency) -> Flow:
        counted = yield from self._entered(call, dependency)
        tries = 0
        while True:
            began = dependency.clock()
            try:
                result = yield Proceed(call)
            except GovernanceError as error:
                if tries:
                    error.facts["tries"] = tries
                if counted and (request := request_of(call)) is not None:
                    request.forgo(asked_by(call, dependency))
                raise
            except Exception as error:
                tries += 1
                failure = failed(call, dependency, asked_by(call, dependency), error, counted=counted)
                if failure.kind is None:
                    raise  # a mistake, which another try would repeat: there is nothing to decide
                why = no_retry(call) or why_not(failure, call)
                wait = wait_before(failure)
                note(failure, call, why, wait)
                if why is not None:
                    say(error, f"Sidecar did not try again: {why}")
                    raise
            else:
                self._succeeded(call, dependency, dependency.clock() - began)
                return result
            yield Sleep(wait)
            check_latch(call.node)  # it may be over meanwhile: its time is up, or somebody stopped it
            check_stops(call)
            counted = True

    def _entered(self, call: ModelCall | ToolCall, dependency: Dependency) -> Generator[Effect, None, bool]:
        """A first try is free and earns a part of a retry; one that another layer makes again is a retry.

        Whether the try is counted already.
        """
        budget, request = dependency.budget, request_of(call)
        assert budget is not None
        if budget.short:
            yield Run(budget.lease)
        if request is None:
            budget.deposit()
            return False
        asked = asked_by(call, dependency)
        earliest = request.granted(asked)
        if earliest is None:
            if not request.tries(asked):
                budget.deposit()
                return False
            why = unaffordable(request, asked, dependency)
            if why is not None:
                raise exhausted(call, dependency, why)
        elif earliest > dependency.clock():
            yield Sleep(earliest - dependency.clock())
            check_latch(call.node)
            check_stops(call)
        return True

    def _succeeded(self, call: ModelCall | ToolCall, dependency: Dependency, seconds: float) -> None:
        dependency.took(seconds)
        request = request_of(call)
        if request is not None:
            request.succeed(asked_by(call, dependency))


def no_retry(call: ModelCall | ToolCall) -> str | None:
    """Why we do not try this again by ourselves, whatever others may do."""
    if isinstance(call, ModelCall):
        return "a part of the answer has left already" if call.streamed else None
    if not call.repeats:
        return "only its node can run a block of code again"
    if call.governance.effect(call) is None:
        return f"{call.name} does not declare that a repeat is harmless"
    return f"a repeat of {call.name} may do it twice" if harmful(call) else None


def harmful(call: ToolCall) -> bool:
    """Whether doing it twice is not the same as doing it once."""
    effect = call.governance.effect(call)
    return effect is not None and effect.changes and not effect.idempotent


def asked_by(call: ModelCall | ToolCall, dependency: Dependency) -> Asked:
    """By what it asks, not by its number: a middleware that tries again makes another call of it."""
    assert call.parent is not None
    digest = (
        prompt_digest(call.name, call.messages, call.options)
        if isinstance(call, ModelCall)
        else canonical.digest([call.name, visible(call)])
    )
    return Asked(dependency.name, call.parent.path, digest)


def visible(call: ToolCall) -> dict[str, Any]:
    return {name: value for name, value in call.args.items() if name not in call.injected}


def exhausted(call: ModelCall | ToolCall, dependency: Dependency, why: str) -> RetriesExhausted:
    call.governance.ledger.record(
        call.session.id, "retry.refused", path=call.path, actor=call.name,
        body={"dependency": dependency.name, "execution": call.execution, "reason": why},
    )  # fmt: skip
    return RetriesExhausted(f"{dependency.name} is not tried again: {why}", dependency=dependency.name)
