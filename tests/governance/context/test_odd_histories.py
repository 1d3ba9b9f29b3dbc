"""Attacks with histories: whatever one holds, the prompt fits, is accepted, and is the same every time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage, SystemMessage

from governance.context.history import History, extended, unread
from governance.context.prompt import Prompt, beginning, prompt
from governance.context.settings import Context, Marks
from governance.errors import ContextExceeded
from governance.tokens import COUNTER
from tests.governance.context.conversations import HISTORIES, orderly, refused

FIRST = [SystemMessage("You help with orders.")]
SIZES = st.sampled_from([200, 300, 600, 2_000])


def marks_of(history: int) -> Marks:
    found = Context(history=history).marks(0)
    assert found is not None
    return found


def read(messages: Sequence[Any], marks: Marks, stops: Sequence[int] = ()) -> History:
    """The history of messages, read bit by bit."""
    whole = [*FIRST, *messages]
    history = unread(whole[: beginning(whole)], beginning(whole))
    for stop in [*sorted({beginning(whole) + stop for stop in stops if stop < len(messages)}), len(whole)]:
        history.seen.extend(whole[len(history.seen) : stop])
        history = extended(history, marks)
    return history


def made(messages: Sequence[Any], size: int, stops: Sequence[int] = ()) -> Prompt | None:
    """The prompt, or None where it is refused."""
    marks = marks_of(size)
    try:
        return prompt(read(messages, marks, stops), marks.history, None, 3)
    except ContextExceeded:
        return None


@given(messages=HISTORIES, size=SIZES)
def test_no_history_makes_a_prompt_that_a_provider_would_refuse(messages: list[Any], size: int) -> None:
    found = made(messages, size)

    assert found is None or [] == refused(found.messages)


@given(messages=HISTORIES, size=SIZES)
def test_no_history_makes_a_prompt_over_the_allowance(messages: list[Any], size: int) -> None:
    """Counted anew, message by message, and what was told of it is what it is."""
    found = made(messages, size)
    if found is None:
        return
    spoken = [one for one in found.messages if not isinstance(one, SystemMessage)]

    assert size >= sum(map(COUNTER.message, spoken))
    assert COUNTER.count(found.messages) == found.tokens


@given(messages=HISTORIES, size=SIZES, stops=st.lists(st.integers(0, 40), max_size=6))
def test_a_history_makes_the_same_prompt_however_it_was_read(messages: list[Any], size: int, stops: list[int]) -> None:
    """All at once after a restart, or bit by bit as it came."""
    at_once, bit_by_bit = made(messages, size), made(messages, size, stops)

    assert at_once == bit_by_bit


@pytest.mark.parametrize("size", range(400, 2_000, 97))
def test_no_allowance_is_exceeded_by_a_token(size: int) -> None:
    """At every length of a long conversation."""
    messages, marks = orderly(12, results=2), marks_of(1_500)
    for end in range(20, len(messages)):
        history = read(messages[:end], marks)
        try:
            found = prompt(history, size, None, 3)
        except ContextExceeded:
            continue
        assert size >= sum(COUNTER.message(one) for one in found.messages[1:])


def test_what_is_recalled_is_the_same_however_the_history_was_read() -> None:
    messages, marks = [*orderly(30), HumanMessage("Pay order W1003 again, with the same card.")], marks_of(1_500)
    at_once = read(messages, marks)

    assert at_once.recalled
    assert at_once.recalled == read(messages, marks, range(0, len(messages), 3)).recalled
    assert at_once.recalled == read(messages, marks, range(len(messages))).recalled


@given(messages=HISTORIES, size=SIZES)
def test_the_history_itself_stays_as_it_was(messages: list[Any], size: int) -> None:
    before = copy.deepcopy(messages)
    made(messages, size)

    assert before == messages


@given(messages=HISTORIES)
def test_what_fits_and_is_well_formed_is_shown_as_the_very_objects_it_is(messages: list[Any]) -> None:
    if refused(messages) or beginning(messages):
        return
    found = made(messages, 60_000)

    assert found is not None
    assert [id(one) for one in [*FIRST, *messages]] == [id(one) for one in found.messages]


@pytest.mark.parametrize("results", [1, 3])
def test_between_two_cuts_a_prompt_only_grows_at_its_end(results: int) -> None:
    """So the provider's cache of its beginning stays good."""
    messages, before, cuts = orderly(40, results=results), list[Any](), 0
    marks = marks_of(1_500)
    for end in range(1, len(messages)):
        if not isinstance(messages[end - 1], HumanMessage):
            continue
        history = read(messages[:end], marks)
        shown = prompt(history, marks.history, None, 3).messages
        if history.left.number == cuts:
            assert before == shown[: len(before)]
        before, cuts = shown, history.left.number

    assert 3 < cuts < 20


@pytest.mark.parametrize("results", [1, 3])
def test_a_call_is_left_out_with_all_its_results_or_shown_with_them(results: int) -> None:
    messages, marks = orderly(40, results=results), marks_of(1_500)
    for end in range(1, len(messages) + 1):
        if isinstance(messages[end - 1], HumanMessage):
            found = prompt(read(messages[:end], marks), marks.history, None, 3)
            assert ([], 0) == (refused(found.messages), found.mended)


def test_a_last_turn_that_does_not_fit_is_refused_with_what_would_help() -> None:
    marks = marks_of(500)

    with pytest.raises(ContextExceeded, match=r"the last turn takes \d+ tokens, and there is room for 500; raise"):
        prompt(read([*orderly(5), HumanMessage("word " * 600)], marks), marks.history, None, 3)
