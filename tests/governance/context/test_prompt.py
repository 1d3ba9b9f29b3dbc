"""What goes when a prompt is too long, and in which order."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from governance.context.history import extended, unread
from governance.context.prompt import Prompt, prompt
from governance.context.settings import Context
from governance.tokens import COUNTER
from tests.governance.context.conversations import called, orderly

MARKS = Context(history=1_500).marks(0)
assert MARKS is not None


def made(messages: list[Any], **options: Any) -> Prompt:
    assert MARKS is not None
    return prompt(extended(unread(messages, 0), MARKS), MARKS.history, None, 3, **options)


def search(count: int, *, calls: int = 1) -> list[Any]:
    """A turn whose results are large."""
    flights = [
        {"flight": f"HAT{n}", "from": "ATL", "to": "JFK", "price": n, "note": "word " * 10} for n in range(count)
    ]
    ids = [f"s{n}" for n in range(calls)]
    asked = AIMessage("", tool_calls=[called(one) for one in ids])
    return [
        HumanMessage("Find me flights."),
        asked,
        *(ToolMessage(json.dumps(flights), tool_call_id=one) for one in ids),
    ]


def test_a_result_that_is_too_large_is_shown_in_part_with_its_size() -> None:
    found = made([*orderly(3), *search(100)])
    (result,) = [one for one in found.messages if isinstance(one, ToolMessage)]

    assert 1 == found.shortened
    assert str(result.content).startswith(f"[{COUNTER.message(search(100)[-1])} tokens; too large to be shown whole]")
    assert 40 < sum(f"HAT{n}" in str(result.content) for n in range(100))


def test_of_several_results_only_the_large_ones_are_shortened() -> None:
    turn = search(60, calls=2)
    turn[-1] = ToolMessage("none found", tool_call_id="s1")
    found = made(turn)

    assert 1 == found.shortened
    assert "none found" == found.messages[-1].content


def test_many_results_in_one_turn_all_stay_with_their_calls() -> None:
    found = made(search(40, calls=12))

    assert 12 == found.shortened == sum(isinstance(one, ToolMessage) for one in found.messages)


def test_what_a_memory_gives_is_shown_after_the_summary() -> None:
    found = made(orderly(20), memories=["The customer likes windows."])

    assert "The customer likes windows." == found.messages[1].content


def test_a_memory_that_does_not_fit_is_left_out_first() -> None:
    found = made(orderly(20), memories=["word " * 1_400])

    assert made(orderly(20)) == found


def test_a_system_message_in_between_comes_first_and_is_never_left_out() -> None:
    """Whoever put it there wanted it to be followed."""
    found = made([*orderly(3), SystemMessage("From now on, answer in French."), *orderly(20)])

    assert "From now on, answer in French." == found.messages[0].content


def test_the_last_request_is_quoted_while_its_work_goes_on() -> None:
    work = [
        part
        for n in range(30)
        for part in (AIMessage("", tool_calls=[called(f"w{n}")]), ToolMessage("word " * 40, tool_call_id=f"w{n}"))
    ]
    found = made([*orderly(5), HumanMessage("Tell me which of these is late."), *work])

    assert "Tell me which of these is late." in str(found.messages[0].content)
