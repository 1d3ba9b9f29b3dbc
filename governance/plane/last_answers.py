"""The last good answers of models and tools, for while these are away: bounded in number, and of one process."""

from __future__ import annotations

import copy
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

Question = tuple[str, ...]
KEPT = 1_000


class LastAnswers:
    """Copies go in and come out, so that nobody can change what another is given."""

    def __init__(self, clock: Callable[[], float], *, kept: int = KEPT) -> None:
        self._clock = clock
        self._kept = kept
        self._answers: dict[Question, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        _LIVE.add(self)

    def keep(self, question: Question, answer: Any) -> None:
        """Remember an answer; one that cannot be copied is not kept."""
        try:
            mine = copy.deepcopy(answer)
        except Exception:
            return
        with self._lock:
            self._answers.pop(question, None)
            while len(self._answers) >= self._kept:
                del self._answers[next(iter(self._answers))]
            self._answers[question] = (self._clock(), mine)

    def last(self, question: Question, seconds: float) -> Any:
        """The answer to this question that is not older than so many seconds; None where there is none."""
        with self._lock:
            at, answer = self._answers.get(question, (0.0, None))
        return copy.deepcopy(answer) if answer is not None and self._clock() - at <= seconds else None

    def after_fork(self) -> None:
        self._lock = threading.Lock()  # one that another thread held would never be released in the child


_LIVE: weakref.WeakSet[LastAnswers] = weakref.WeakSet()


def _after_fork() -> None:
    for answers in list(_LIVE):
        answers.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
