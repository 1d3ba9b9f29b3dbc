"""What follows the last attempt of a node: its fallback, and then its isolation.

Around LangGraph's own retry loop, so that nobody has to guess whether another attempt will come, and so
that what LangGraph itself ends (by its own timeouts) counts too. Installed for the first contract that asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from langchain_core.runnables import Runnable
from langgraph._internal._constants import CONF, CONFIG_KEY_READ
from langgraph._internal._runnable import coerce_to_runnable
from langgraph.pregel import _runner
from langgraph.types import PregelExecutableTask

from governance import chain
from governance.call import Flow, NodeCall, Proceed, Run
from governance.drivers import Stopped
from governance.errors import Abandoned
from governance.falling_back import because, behind, note_refused, note_used
from governance.filters.attempted import ATTEMPTED
from governance.isolation import CHANNEL, EffectLeft, beneath_the_living, failure_of, isolates
from governance.likeness import like
from governance.seams.failure_channel import keeps, onward
from governance.seams.governed import GovernedSeq
from governance.seams.retries import REVISIONS

WANTED: list[tuple[Any, tuple[str, ...]]] = [(_runner, ("run_with_retry", "arun_with_retry"))]
_installed = False
Left = tuple[EffectLeft, ...]


def install() -> None:
    """Wrap the two functions that run a task with its retries; called again, it does nothing."""
    global _installed
    if not _installed:
        _installed = True
        for name, followed in (("run_with_retry", _followed), ("arun_with_retry", _afollowed)):
            setattr(_runner, name, followed(getattr(_runner, name)))


def _followed(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def run_with_retry(task: PregelExecutableTask, *args: Any, **kwargs: Any) -> Any:
        if not getattr(task.proc, "followed", False):
            return original(task, *args, **kwargs)
        return chain.run((_attempts,), task, lambda one: original(one, *args, **kwargs))

    return run_with_retry


def _afollowed(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def arun_with_retry(task: PregelExecutableTask, *args: Any, **kwargs: Any) -> Any:
        if not getattr(task.proc, "followed", False):
            return await original(task, *args, **kwargs)
        return await chain.arun((_attempts,), task, lambda one: original(one, *args, **kwargs))

    return arun_with_retry


def _attempts(task: Any) -> Flow:
    """Stands around all attempts of a task, as a filter stands around a call."""
    made: list[NodeCall] = []
    token = ATTEMPTED.set(made)
    try:
        try:
            return (yield Proceed(task))
        except Exception as error:
            failure = _final(task, made, error)
        left: Left = yield Run(partial(_left, made[-1]))
        stand_in = _fallback(task, made[-1], failure, left)
        if stand_in is not None:
            try:
                return (yield Proceed(stand_in))
            except Exception as error:
                failure = _final(task, made, error)
            left = yield Run(partial(_left, made[-1]))
        if not (made[-1].contract.isolates and keeps(task.config[CONF][CONFIG_KEY_READ].args[1])):
            raise failure
        _isolate(task, made, failure, left)
    finally:
        ATTEMPTED.reset(token)


def _final(task: PregelExecutableTask, made: list[NodeCall], error: Exception) -> Exception:
    """The error of the last attempt, where it is a failure of this node alone; raised again where it is not."""
    if not made or not isinstance(task.proc, GovernedSeq) or isinstance(error, Stopped):
        raise error
    call = made[-1]
    if call.refusal is not None and not isolates(call.refusal):
        raise call.refusal  # what LangGraph gave up on had been refused, and would have been told so at its end
    if not isolates(error) or call.question is not None or not beneath_the_living(call):
        raise error
    if call.state != "over":  # it was given up on by somebody else, and still runs
        call.refuse(Abandoned(f"{call.path} was given up on, and may not act any more", path=call.path))
    return error


def _left(call: NodeCall) -> Left:
    return call.governance.effects_left(call)


def _fallback(task: PregelExecutableTask, call: NodeCall, error: Exception, left: Left) -> Any:
    """The task with other code in place of the node's; None where there is none, or it may not run."""
    given = call.contract.fallback
    if given is None:
        return None
    source, to = behind(call, error), _named(given)
    why = None
    if any(one.state == "in doubt" for one in left):
        why = "the node left an effect in doubt, which other code might do again"
    elif not isinstance(given, Mapping):  # a fixed update asks nobody for anything
        why = call.governance.pays_for(call, source)
    if why is not None:
        note_refused(call, call.place, to, why)
        return None
    note_used(call, call.place, to, because(error))
    proc: Any = task.proc
    return replace(task, proc=proc.instead(_code(given, proc)), retry_policy=(REVISIONS,))


def _named(given: Any) -> str:
    if isinstance(given, str):
        return given
    return "a fixed update" if isinstance(given, Mapping) else str(getattr(given, "__name__", type(given).__name__))


def _code(given: Any, proc: GovernedSeq) -> Runnable[Any, Any]:
    if isinstance(given, str):
        return proc.step.code_of(given)
    if isinstance(given, Mapping):
        update = dict(given)
        return coerce_to_runnable(lambda state: update, name=proc.step.name, trace=False)
    return coerce_to_runnable(given, name=proc.step.name, trace=False)


def _isolate(task: PregelExecutableTask, made: list[NodeCall], error: Exception, left: Left) -> None:
    """Let the node end with nothing but its failure, and let control go on."""
    call = made[-1]
    told = failure_of(call, error, len(made), time.time(), left)
    task.writes.clear()
    task.writes.extend([(CHANNEL, [told]), *onward(task.writers, call.contract.failure_route)])
    body = {"error": told["error"], "kind": told["kind"], "attempts": len(made), "execution": call.execution}
    body |= {"to": call.contract.failure_route} if call.contract.failure_route else {}
    body |= {"effects": [asdict(one) for one in left]} if left else {}
    call.governance.ledger.record(
        call.session.id, "failure.isolated", path=call.path, actor=call.name, body=body
    )  # fmt: skip
