"""What has failed within one request, over all the layers that try again.

A request is the outermost node call with all its re-runs. Within it, asking the same dependency for the
same at the same place is one thing tried again, whoever does it: a loop of ours, a middleware, code of
the node, LangGraph's retry policy of the node or of a graph around it.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from governance.call import Call, NodeCall

KEPT = 64
"""Requests of a session that wait for the next attempt of their node."""


class Asked(NamedTuple):
    """What was asked, and where: the same in every try of it."""

    dependency: str
    place: str
    digest: str


class Request:
    """Failed tries in a row of everything that failed; most requests never need one of these."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: dict[Asked, int] = {}
        self._granted: dict[Asked, float] = {}
        self.in_doubt: set[Asked] = set()
        """Effects that failed after they had begun, and must not be done twice."""

    def failed(self, asked: Asked) -> int:
        """How often this failed, without a success in between."""
        return self._failed.get(asked, 0)

    def fail(self, asked: Asked) -> int:
        with self._lock:
            self._failed[asked] = self.failed(asked) + 1
            return self._failed[asked]

    def succeed(self, asked: Asked) -> None:
        with self._lock:
            self._failed.pop(asked, None)

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
    """Seconds until the first deadline among the node of a call and those around it; None without one."""
    left: float | None = None
    part: Call | None = call
    while part is not None:
        node = part.node
        limit = node.contract.timeout if node.bound.enforced else None
        if limit is not None and node.started:
            mine = limit - (time.perf_counter_ns() - node.started) / 1e9
            left = mine if left is None else min(left, mine)
        part = node.parent
    return left
