"""Histories that are remembered: the same as read anew, whoever shares them, and bounded."""

from __future__ import annotations

import subprocess
import sys

from langchain_core.messages import AIMessage, HumanMessage

from governance.context.histories import Histories
from governance.context.history import extended, unread
from governance.context.settings import Context
from tests.governance.context.conversations import orderly

MARKS = Context(history=1_500).marks(0)
assert MARKS is not None
LONG = orderly(40)


def test_a_longer_history_goes_on_where_the_last_one_ended() -> None:
    known = Histories()
    known.put(("t",), extended(unread(LONG[:100], 0), MARKS))

    found = known.take(("t",), LONG, 0)
    assert 100 == found.size
    assert extended(unread(LONG, 0), MARKS) == extended(found, MARKS)


def test_branches_share_what_was_left_out_before_they_parted() -> None:
    known = Histories()
    for name in ("one", "other"):
        branch = [*LONG[:120], HumanMessage(f"branch {name}"), AIMessage(f"answer {name}")]
        found = known.take(("t",), branch, 0)
        known.put(("t",), extended(found, MARKS))
        assert extended(unread(branch, 0), MARKS) == extended(found, MARKS)

    assert 0 < found.size < 120


def test_a_change_of_what_was_left_out_makes_all_of_it_be_read_again() -> None:
    known = Histories()
    known.put(("t",), extended(unread(LONG, 0), MARKS))

    assert 0 == known.take(("t",), [LONG[0], *LONG[2:]], 0).size


def test_equal_messages_of_another_run_are_the_same_history() -> None:
    """A checkpoint gives other objects each time it is read."""
    known, again = Histories(), [message.model_copy(deep=True) for message in LONG]
    known.put(("t",), extended(unread(list(LONG), 0), MARKS))

    found = known.take(("t",), again, 0)
    assert len(LONG) == found.size
    assert all(one is other for one, other in zip(again, found.seen, strict=True))


def test_a_history_that_somebody_reads_is_nobody_elses() -> None:
    known = Histories()
    known.put(("t",), extended(unread(list(LONG), 0), MARKS))
    first = known.take(("t",), LONG, 0)

    assert known.take(("t",), LONG, 0) is not first


def test_the_oldest_is_forgotten_when_there_are_too_many() -> None:
    known = Histories(messages=500)
    for number in range(10):
        known.put((number,), extended(unread(list(LONG), 0), MARKS))

    assert [None, None] == [known.newest((0,)), known.newest((5,))]
    assert known.newest((9,)) is not None


def test_another_process_comes_to_the_same_summary() -> None:
    """Python gives the members of a set another order in each process."""
    code = (
        "from tests.governance.context.test_histories import *\n"
        "left = extended(unread([*LONG, HumanMessage('Order W1012, A12 A1, again')], 0), Context(history=4_000).marks(0))\n"
        "print(left.left.summary, left.recalled, left.left.digest)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=120
        )
        for seed in ("1", "2")
    ]

    assert "card_7000012" in runs[0].stdout, runs[0].stderr
    assert runs[0].stdout == runs[1].stdout
