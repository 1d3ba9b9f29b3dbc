"""What a dependency said last is kept for some time, and for so many questions."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from governance.plane.last_answers import LastAnswers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_too_old_some_day() -> None:
    clock = Clock()
    answers = LastAnswers(clock)
    answers.keep(("a",), "said")
    clock.now = 10.0

    assert ("said", None, None) == (answers.last(("a",), 10), answers.last(("a",), 9), answers.last(("b",), 10))


def test_the_oldest_goes_first() -> None:
    answers = LastAnswers(Clock(), kept=2)
    for name in ("a", "b", "a", "c"):
        answers.keep((name,), name)

    assert ["a", None, "c"] == [answers.last((name,), 1) for name in "abc"]


def test_what_cannot_be_copied_is_not_kept() -> None:
    answers = LastAnswers(Clock())
    held: Any = threading.Lock()
    answers.keep(("a",), held)

    assert None is answers.last(("a",), 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_does_not_wait_for_a_lock_of_its_parent() -> None:
    answers = LastAnswers(Clock())
    with answers._lock:
        child = os.fork()
        if child == 0:
            answers.keep(("a",), "said")
            os._exit(0)
    _, status = os.waitpid(child, 0)

    assert 0 == status
