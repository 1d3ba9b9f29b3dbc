"""What one session (a LangGraph thread) has used up so far, kept in memory and bounded in number."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

SESSIONS_KEPT = 20_000


class Session:
    """Counters of one session; `tokens` includes what calls in flight have reserved."""

    __slots__ = ("feedback", "id", "known", "lock", "repeats", "tokens", "visits")

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.lock = threading.Lock()
        self.tokens = 0
        self.known = False
        """Whether what earlier processes spent has been read from the ledger."""
        self.visits: dict[str, int] = {}
        self.repeats: deque[tuple[Any, ...]] = deque(maxlen=16)
        self.feedback: dict[str, str] = {}


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
