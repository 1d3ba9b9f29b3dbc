"""What one session (a LangGraph thread) has used up so far, kept in memory and bounded in number."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

SESSIONS_KEPT = 4_096


class Session:
    """Counters of one session; `tokens` is what a budget counted last, with what calls in flight have reserved."""

    __slots__ = ("feedback", "id", "lock", "repeats", "requests", "revised", "tokens", "visits")

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.lock = threading.Lock()
        self.tokens = 0
        # Made when first needed: most sessions need none of them, and there are many sessions.
        self.visits: dict[str, int] | None = None
        self.repeats: list[tuple[Any, ...]] | None = None
        self.feedback: dict[str, str] | None = None
        self.revised: frozenset[str] = frozenset()
        self.requests: dict[str, Any] | None = None  # those whose node is to run again

    def visit(self, place: str) -> int:
        """Count one more execution of a place; how many there have been."""
        with self.lock:
            if self.visits is None:
                self.visits = {}
            self.visits[place] = self.visits.get(place, 0) + 1
            return self.visits[place]

    def last_calls(self, number: int) -> list[tuple[Any, ...]]:
        """The newest tool calls with their results, the oldest first."""
        with self.lock:
            return (self.repeats or [])[-number:]

    def note_call(self, seen: tuple[Any, ...], *, keep: int) -> None:
        with self.lock:
            self.repeats = [*(self.repeats or []), seen][-keep:]

    def say(self, path: str, words: str) -> None:
        """Leave words for the next attempt at a place."""
        with self.lock:
            self.feedback = {**(self.feedback or {}), path: words}

    def mark_revised(self, path: str, revised: bool) -> None:
        """Whether the attempt at a path that comes next is made because the last one was not good enough."""
        with self.lock:
            self.revised = self.revised | {path} if revised else self.revised - {path}

    def said(self, path: str) -> str | None:
        """What was left for this attempt; it is said once."""
        with self.lock:
            return self.feedback.pop(path, None) if self.feedback else None


class Sessions:
    """The sessions this process has seen lately; the oldest is forgotten first."""

    def __init__(self, kept: int = SESSIONS_KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, session_id: str, new: Callable[[str], Session] = Session) -> Session:
        found = self._sessions.get(session_id)
        if found is not None:
            return found
        with self._lock:
            found = self._sessions.get(session_id)
            if found is None:
                while len(self._sessions) >= self._kept:
                    self._sessions.pop(next(iter(self._sessions)), None)
                found = self._sessions[session_id] = new(session_id)
        return found
