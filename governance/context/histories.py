"""The conversations of this process, as far as they have been read: a call costs what is new in it.

All of it can be made again from the messages, so the oldest is forgotten once these are too many.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from governance.context.history import History, forked, unread

MESSAGES = 200_000
"""Messages held in all; they are mostly the very objects that the graphs' own states hold."""
BRANCHES = 3
"""Histories kept of one place: the branches of a graph may have one each."""
Place = tuple[Any, ...]


class Histories:
    """The newest histories, by the place where they were asked about.

    Whoever takes one has it alone until it is put back: no lock is held while it is read.
    """

    def __init__(self, messages: int = MESSAGES) -> None:
        self._most = messages
        self.reset()
        _LIVE.add(self)

    def newest(self, place: Place) -> History | None:
        """The one that was put back last, to look at."""
        known = self._known.get(place)
        return known[0] if known else None

    def take(self, place: Place, messages: list[Any], first: int) -> History:
        """What is known of these messages: all that was read of them, or as much as another branch shares."""
        with self._lock:
            known = self._known.pop(place, ())
            self._held -= sum(one.size for one in known)
        for one in known:
            if _grown(one, messages, first):
                self._put(place, tuple(other for other in known if other is not one))
                return one
        self._put(place, known)
        copied = list(messages)
        shared = (forked(one, copied, first) for one in known)
        return next((one for one in shared if one is not None), unread(copied, first))

    def put(self, place: Place, history: History) -> None:
        """Remember a history at a place, as its newest."""
        self._put(place, (history,))

    def _put(self, place: Place, histories: tuple[History, ...]) -> None:
        if not histories:
            return
        with self._lock:
            known = self._known.pop(place, ())
            now = (*histories, *known)[:BRANCHES]
            self._known[place] = now
            self._held += sum(one.size for one in now) - sum(one.size for one in known)
            while self._held > self._most and len(self._known) > 1:
                self._held -= sum(one.size for one in self._known.pop(next(iter(self._known))))

    def reset(self) -> None:
        """As new: in a child process, another thread's lock would never be released."""
        self._lock = threading.Lock()
        self._known: dict[Place, tuple[History, ...]] = {}
        self._held = 0


def _grown(history: History, messages: list[Any], first: int) -> bool:
    """Whether the messages begin with those of a history, which then has all of them in its list.

    The lists are compared whole, as that asks for identity first and copies nothing: five thousand messages take
    some microseconds if they are the same objects. The system messages are no part of a history.
    """
    seen = history.seen
    if history.first != first or len(seen) != history.size or len(messages) < history.size:
        return False
    seen[:first] = messages[:first]
    seen += messages[history.size :]
    if seen == messages:
        if history.size > first and seen[history.size - 1] is not messages[history.size - 1]:
            seen[:] = messages  # the same in other objects, which those that come next will be compared with
        return True
    del seen[history.size :]
    return False


def _reset_all() -> None:
    for one in _LIVE:
        one.reset()


_LIVE: weakref.WeakSet[Histories] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
