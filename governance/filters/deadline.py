"""What a call may take of the time that is left around it; innermost, so that it is asked before every try.

What holds: nothing is asked for a node whose time is up, nor by what a try left behind; and no try takes
longer than its dependency's timeout. What that cuts off has failed, as if its client had given up.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from governance.call import Call, Flow, ModelCall, NodeCall, Proceed, ToolCall
from governance.errors import DeadlineExceeded, GovernanceError
from governance.plane.requests import out_of_time, time_left

if TYPE_CHECKING:
    from governance.policy_failures import TimeoutPolicy


class Deadline:
    """Bounds one try; the client of a model sees what is left of the time, and ends by itself."""

    def __call__(self, call: ModelCall | ToolCall) -> Flow | None:
        directory = call.governance.directory
        rules = directory.of(call).rules.timeout if directory.times else None
        left = time_left(call)
        return None if left is None and rules is None else self._timed(call, left, rules)

    def _timed(self, call: ModelCall | ToolCall, left: float | None, rules: TimeoutPolicy | None) -> Flow:
        if left is not None and left <= 0:
            raise no_time(call)
        try:
            if rules is None or (left is not None and left <= rules.seconds) or not _interruptible(call):
                return (yield Proceed(call))
            return (yield from self._tried(call, rules))
        except Exception as error:
            if isinstance(error, GovernanceError) or out_of_time(call) is None:
                raise
            raise no_time(call) from error  # it was the node that had no more time, whatever its client says

    def _tried(self, call: ModelCall | ToolCall, rules: TimeoutPolicy) -> Flow:
        one = replace(call)  # what this try leaves behind is no part of the next
        one.until = time.monotonic() + rules.seconds
        result = yield Proceed(one, rules.seconds, partial(too_slow, call, rules))
        one.until = None  # what it has started and not waited for is a part of the node, as ever
        return result


def _interruptible(call: ModelCall | ToolCall) -> bool:
    """A block of code runs where it stands: nobody can go on without it."""
    return isinstance(call, ModelCall) or call.repeats


def too_slow(call: Call, rules: TimeoutPolicy) -> TimeoutError:
    return TimeoutError(f"{call.name} did not answer within {rules.seconds:g} s, which its [timeout] allows")


def no_time(call: ModelCall | ToolCall) -> Exception:
    """For whom nobody waits any more: a node is refused; what a try left behind just ends."""
    over = out_of_time(call)
    if not isinstance(over, NodeCall):
        name = call.name if over is None else over.name
        return TimeoutError(f"{call.name} is not asked: {name} was given up, and its caller has gone on")
    limit = over.contract.timeout
    return call.node.refuse(
        DeadlineExceeded(f"{call.name} is not asked any more: {over.place} has had its {limit:g} s", seconds=limit)
    )
