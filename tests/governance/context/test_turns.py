"""Lists that a provider would refuse, and what is made of them; each test holds one kind."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, ChatMessage, FunctionMessage, HumanMessage, ToolMessage

from governance.context.turns import NO_RESULT, NOTHING, accepted
from tests.governance.context.conversations import broken, called, refused


def result(call_id: str, text: str = "sent") -> ToolMessage:
    return ToolMessage(text, tool_call_id=call_id, name="look_up")


def asks(*ids: str | None) -> AIMessage:
    return AIMessage("", tool_calls=[called(one) for one in ids])


HELLO = HumanMessage("hello")


def shape(messages: list[Any]) -> list[str]:
    """Each message in short: its kind, and whose result it is or which calls it makes."""
    told = []
    for one in messages:
        ids = [call["id"] for call in getattr(one, "tool_calls", None) or []]
        told.append(f"{one.type} {getattr(one, 'tool_call_id', ' '.join(ids))}".strip())
    return told


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([HELLO, result("a")], ["human"]),
        ([HELLO, asks("a"), HELLO], ["human", "ai a", "tool a", "human"]),
        ([HELLO, asks("a", "b"), result("b")], ["human", "ai a b", "tool b", "tool a"]),
        ([HELLO, asks("a"), HELLO, result("a")], ["human", "ai a", "tool a", "human"]),
        ([HELLO, asks("a"), asks("b"), result("a"), result("b")], ["human", "ai a", "tool a", "ai b", "tool b"]),
        ([HELLO, asks("a"), result("a"), result("a")], ["human", "ai a", "tool a"]),
        ([HELLO, asks("a"), result("a"), asks("a"), result("a")], ["human", "ai a", "tool a", "ai a-2", "tool a-2"]),
        ([HELLO, asks("a", "a"), result("a"), result("a")], ["human", "ai a a-2", "tool a", "tool a-2"]),
        ([HELLO, asks(None)], ["human", "ai call_0", "tool call_0"]),
        ([HELLO, FunctionMessage("x", name="f")], ["human"]),
        ([HELLO, ChatMessage("yes", role="assistant")], ["human", "ai"]),
    ],
)
def test_what_is_made_of_it(given: list[Any], expected: list[str]) -> None:
    found, mended = accepted(given)

    assert expected == shape(found)
    assert [] == refused(found)
    assert mended


def test_parallel_results_stay_in_the_order_they_came() -> None:
    given = [HELLO, asks("a", "b", "c"), result("c"), result("a"), result("b")]
    found, mended = accepted(given)

    assert given == found
    assert 0 == mended


def test_a_call_that_was_cut_off_is_said_to_have_no_known_result() -> None:
    found, _ = accepted([HELLO, asks("a")])

    assert (NO_RESULT, "error", "look_up") == (found[-1].content, found[-1].status, found[-1].name)


def test_a_call_that_cannot_be_read_goes_and_so_does_its_result() -> None:
    wrong = AIMessage([{"type": "tool_use", "id": "x", "name": "f", "input": {}}], invalid_tool_calls=[broken("x")])
    found, _ = accepted([HELLO, wrong, result("x")])

    assert ["human", "ai"] == shape(found)
    assert NOTHING == found[1].content


def test_ids_are_made_different_in_the_content_too() -> None:
    """Some providers take the calls from there."""
    again = AIMessage([{"type": "tool_use", "id": "a", "name": "look_up", "input": {}}], tool_calls=[called("a")])
    found, _ = accepted([HELLO, asks("a"), result("a"), again, result("a")])

    assert "a-2" == found[3].content[0]["id"]


@pytest.mark.parametrize("content", ["", " \n", [], [{"type": "text", "text": " "}], [""]])
def test_what_says_nothing_says_so(content: Any) -> None:
    found, _ = accepted([HumanMessage(content), HELLO])

    assert NOTHING == found[0].content
