"""What has failed within one request, over all the layers that try again.

A request is the outermost node call with all its re-runs. Within it, asking the same dependency for the
same at the same place is one thing tried again, whoever does it: a loop of ours, a middleware, code of
the node, LangGraph's retry policy of the node or of a graph around it.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from governance.call import Call, ModelCall, NodeCall, ToolCall

KEPT = 64
"""Requests of a session that wait for the next attempt of their node."""


class Asked(NamedTuple):
    """What was asked, and where: the same in every try of it."""

    dependency: str
    place: str
    digest: str


class Request:
    """Tries in a row of everything that failed; most requests never need one of these.

    A further try counts from the moment it is allowed, so that many who ask at once are not many more tries.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries: dict[Asked, int] = {}
        self._granted: dict[Asked, float] = {}

    def tries(self, asked: Asked) -> int:
        """How often this was tried, without a success in between."""
        return self._tries.get(asked, 0)

    def count(self, asked: Asked) -> int:
        """Count a first try, which nobody had to allow, now that it has failed."""
        with self._lock:
            self._tries[asked] = self.tries(asked) + 1
            return self._tries[asked]

    def allow(self, asked: Asked, most: int) -> bool:
        """Count a further try, which is yet to be made; False where there were so many already."""
        with self._lock:
            tries = self.tries(asked)
            if tries < most:
                self._tries[asked] = tries + 1
            return tries < most

    def forgo(self, asked: Asked) -> None:
        """Take back a try that was allowed, and said nothing: it was not made, or its answer was that of a poll."""
        with self._lock:
            self._tries[asked] = max(0, self.tries(asked) - 1)

    def succeed(self, asked: Asked) -> None:
        with self._lock:
            self._tries.pop(asked, None)

    def grant(self, asked: Asked, earliest: float) -> None:
        """Allow another try from outside, which is paid for, and not before a moment."""
        with self._lock:
            self._granted[asked] = earliest

    def granted(self, asked: Asked) -> float | None:
        """Take up what was granted: the earliest moment for it."""
        with self._lock:
            return self._granted.pop(asked, None)


def outermost(call: Call) -> NodeCall:
    root = call.node
    while root.parent is not None:
        root = root.parent.node
    return root


def request_of(call: Call) -> Request | None:
    """The request a call is a part of, where something has failed in it."""
    root = outermost(call)
    if root.request is None and root.attempt > 1 and root.session.requests:
        with root.session.lock:
            root.request = root.session.requests.pop(root.path, None)
    return root.request


def begun(call: Call) -> Request:
    """The request a call is a part of, now that something has failed in it."""
    request = request_of(call)
    if request is None:
        root = outermost(call)
        with root.session.lock:
            request = root.request = root.request or Request()
    return request


def handed_on(root: NodeCall) -> None:
    """Keep the request for the next attempt of the outermost node, which is another call at the same path."""
    with root.session.lock:
        waiting = root.session.requests = root.session.requests or {}
        while len(waiting) >= KEPT:
            del waiting[next(iter(waiting))]
        if root.request is not None:
            waiting[root.path] = root.request


def time_left(call: Call) -> float | None:
    """Seconds until the first deadline of a call, its node and all that is around it; None without one."""
    left: float | None = None
    part: Call | None = call
    while part is not None:
        mine = _own_time(part)
        if mine is not None and (left is None or mine < left):
            left = mine
        part = part.parent
    return left


def out_of_time(call: Call) -> Call | None:
    """The innermost of the calls around and including this one whose time is up."""
    part: Call | None = call
    while part is not None:
        mine = _own_time(part)
        if mine is not None and mine <= 0:
            return part
        part = part.parent
    return None


def _own_time(part: Call) -> float | None:
    if isinstance(part, NodeCall):
        limit = part.contract.timeout if part.started and part.bound.enforced else None
        return None if limit is None else limit - (time.perf_counter_ns() - part.started) / 1e9
    assert isinstance(part, (ModelCall, ToolCall))
    return None if part.until is None else part.until - time.monotonic()
