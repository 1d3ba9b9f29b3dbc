"""Whether a failed call may be made again, by us or by another layer: one answer, from one place.

A failure is marked on the error that tells of it, so that whoever catches that error later, a retry
policy of LangGraph above all, asks about the very try that failed and not about another.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from langgraph.errors import GraphBubbleUp

from governance.call import Call, ModelCall, NodeCall, ToolCall
from governance.errors import GovernanceError
from governance.failures import answered, retry_after, weather
from governance.plane.dependencies import Dependency
from governance.plane.requests import Asked, Request, begun, handed_on, request_of, time_left

MARK = "__sidecar_failure__"
JITTER = random.Random()
CAUSES = 10
NOTHING = object()
"""No mark. One that says None tells that what an error was raised from is somebody else's failure, and one that says
True or False whether its node ran again in the record of which this is a replay."""


@dataclass(slots=True, eq=False)
class Failure:
    """One failed try of a model, a tool, or a node's own code."""

    call: Call
    layer: NodeCall
    """The node that the error left last."""
    dependency: Dependency
    request: Request
    asked: Asked
    tries: int
    kind: str | None
    error: str
    """Its class. Not the error itself, which would keep its frames alive for as long as itself."""
    answered: bool
    after: float
    """Seconds that the dependency wants to be left alone."""
    over: bool = False
    """Whether it was decided for all layers that it is not tried again."""


def failed(
    call: ModelCall | ToolCall | NodeCall, dependency: Dependency, asked: Asked, error: Exception, *, counted: bool
) -> Failure:
    """Count a failed try, if it was not when it was allowed, and mark the error that tells of it."""
    rules = dependency.rules.retries
    assert rules is not None
    request, said = begun(call), answered(error)
    if said and counted:  # whoever asks again for what was not there, as a poll does, tries nothing again
        request.forgo(asked)
    tries = request.count(asked) if not (said or counted) else request.tries(asked)
    failure = Failure(
        call, call.node, dependency, request, asked, tries, weather(error, rules.on), type(error).__name__, said,
        retry_after(error) or 0.0,
    )  # fmt: skip
    mark(error, failure)
    return failure


def mark(error: Exception, failure: Failure | bool | None) -> None:
    with suppress(Exception):  # some errors cannot be written on: layers above are then asked about their own node
        setattr(error, MARK, failure)


def say(error: Exception, words: str) -> None:
    """Leave words on an error for whoever reads it."""
    with suppress(Exception):
        error.add_note(words)


def failure_of(error: BaseException) -> Failure | None:
    """The failure that an error tells of, by itself or by what it was raised from."""
    for one in _causes(error):
        found = getattr(one, MARK, NOTHING)
        if found is not NOTHING:
            return found if isinstance(found, Failure) else None
        if isinstance(one, BaseExceptionGroup):
            several = [inner for each in one.exceptions if (inner := failure_of(each)) is not None]
            if several:
                return next((each for each in several if each.over), max(several, key=lambda each: each.after))
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def left_node(error: BaseException, call: NodeCall) -> None:
    """An error leaves a node: the failure of something in it, or of the node's own code."""
    if isinstance(error, (GovernanceError, GraphBubbleUp)) or not isinstance(error, Exception):
        return
    again = call.governance.ran_again(call)
    if again is not None:
        mark(error, again)
        return
    found = failure_of(error)
    if found is not None and _within(found.call, call):
        found.layer = call
        mark(error, found)
        return
    dependency = call.governance.directory.of_node(call)
    if call.bound.enforced and dependency.rules.retries is not None:
        asked, request = Asked(dependency.name, call.path, ""), request_of(call)
        counted = request is not None and request.granted(asked) is not None
        failed(call, dependency, asked, error, counted=counted)
    elif found is not None:
        mark(error, None)


def _within(call: Call | None, node: NodeCall) -> bool:
    while call is not None:
        if call is node:
            return True
        call = call.parent
    return False


def may_run_again(error: Exception, attempts: int) -> bool:
    """Whether LangGraph may run the node again that an error left, by a policy that allows so many attempts."""
    recorded = getattr(error, MARK, None)
    if isinstance(recorded, bool):
        return recorded
    failure = failure_of(error)
    if failure is None:
        return True  # nothing is set about retries here
    if failure.over or failure.layer.attempt >= attempts:
        return False  # LangGraph asks first and counts afterwards: nothing is to be paid for
    why = why_not(failure, failure.layer.parent)
    note(failure, failure.layer, why, failure.after)
    if why is not None:
        return False
    failure.request.grant(failure.asked, failure.dependency.clock() + failure.after)
    if failure.layer.parent is None:
        handed_on(failure.layer)
    return True


def why_not(failure: Failure, inside: Call | None) -> str | None:
    """Why it is not tried again; None where it is, and then it is paid for. `inside` has to end in time."""
    why = _for_good(failure)
    if why is None:
        left = time_left(inside) if inside is not None else None
        wait = max(failure.after, backoff(failure) / 2)
        if left is not None and wait + failure.dependency.pace >= left:
            # Not for good: whoever runs the node again begins its time anew.
            return f"it could not end within the {max(0.0, left):.1f} s that are left"
        why = unaffordable(failure.request, failure.asked, failure.dependency)
    failure.over = why is not None
    return why


def unaffordable(request: Request, asked: Asked, dependency: Dependency) -> str | None:
    """Count and pay for a further try, before it is made; why that cannot be."""
    rules, budget = dependency.rules.retries, dependency.budget
    assert rules is not None
    assert budget is not None
    if not request.allow(asked, rules.attempts):
        return f"this request has tried it {request.tries(asked)} times, as often as it may"
    if budget.take():
        return None
    request.forgo(asked)
    return "the retry budget is used up"


def _for_good(failure: Failure) -> str | None:
    rules = failure.dependency.rules.retries
    assert rules is not None
    if failure.answered:
        return f"{failure.dependency.name} answered that the request is wrong"
    if failure.after > rules.longest_wait:
        return f"it wants to be left alone for {failure.after:g} s, longer than anybody waits here"
    return None


def backoff(failure: Failure) -> float:
    rules = failure.dependency.rules.retries
    assert rules is not None
    return min(rules.longest_wait, rules.wait * 2.0 ** min(failure.tries - 1, 60))


def wait_before(failure: Failure) -> float:
    """Exponential, with a random half, and not before the dependency wants to be asked."""
    own = backoff(failure) * (0.5 + JITTER.random() / 2)
    return max(own, failure.after * (1 + JITTER.random() / 10)) if failure.after else own


def note(failure: Failure, call: Call, why: str | None, wait: float) -> None:
    """Put the decision on record."""
    body = {
        "dependency": failure.dependency.name,
        "error": failure.error,
        "kind": failure.kind or "unknown",
        "tries": failure.tries,
        "execution": call.execution,
    }
    body |= {"wait_ms": round(wait * 1000)} if why is None else {"reason": why}
    kind = "retry.scheduled" if why is None else "retry.refused"
    call.governance.ledger.record(call.session.id, kind, path=call.path, actor=call.name, body=body)
