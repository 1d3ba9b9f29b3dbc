"""Tokens are counted exactly, once a message, whatever is in it."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from governance.tokens import PER_MESSAGE, PICTURE, PIECE, SMALL_PICTURE, MessageCounter, count_text


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("hello", 1), ("hello world", 2), ("Grüße aus Köln", 5), ("<|endoftext|>", 7)]
)
def test_known_texts_have_the_counts_of_the_o200k_encoding(text: str, expected: int) -> None:
    """Special tokens inside a text are text: a user can write them."""
    assert expected == count_text(text)


def test_a_text_longer_than_the_encoder_takes_is_counted_in_pieces() -> None:
    long = "word " * (PIECE // 2)

    assert abs(count_text(long) - PIECE // 2) < 10


@given(contents=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), max_size=5))
def test_a_conversation_costs_the_sum_of_its_messages_and_a_frame(contents: list[str]) -> None:
    counted = MessageCounter().count([HumanMessage(content) for content in contents])

    assert 3 + sum(PER_MESSAGE + count_text(content) for content in contents) == counted


def test_a_message_seen_before_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr("governance.tokens.count_text", lambda text: counted.append(text) or len(text))
    counter = MessageCounter()
    history = [SystemMessage("s"), HumanMessage("h")]
    counter.count(history)
    counter.count([*history, AIMessage("new")])

    assert ["s", "h", "new"] == counted


def test_tool_calls_and_parts_are_part_of_a_message() -> None:
    call = {"name": "pay", "args": {"amount": 5}, "id": "c", "type": "tool_call"}
    plain, calling = AIMessage("x"), AIMessage("x", tool_calls=[call])
    parts = HumanMessage([{"type": "text", "text": "hello world"}])
    counter = MessageCounter()

    assert counter.count([plain]) < counter.count([calling])
    assert counter.count([parts]) == counter.count([HumanMessage("hello world")])


def test_an_answer_that_says_its_calls_in_its_content_too_is_not_counted_twice() -> None:
    call = {"name": "pay", "args": {"amount": 5}, "id": "c", "type": "tool_call"}
    said = [{"type": "text", "text": "x"}, {"type": "tool_use", "id": "c", "name": "pay", "input": {"amount": 5}}]
    counter = MessageCounter()

    assert counter.count([AIMessage("x", tool_calls=[call])]) == counter.count([AIMessage(said, tool_calls=[call])])


def test_a_picture_costs_what_providers_say_and_not_its_bytes() -> None:
    """A photo of a megabyte is no text of a million characters."""
    data = "data:image/png;base64," + "A" * 1_000_000
    counter = MessageCounter()
    large = HumanMessage([{"type": "image_url", "image_url": {"url": data}}])
    small = HumanMessage([{"type": "image_url", "image_url": {"url": data, "detail": "low"}}])

    assert 3 + PER_MESSAGE + PICTURE == counter.count([large])
    assert 3 + PER_MESSAGE + SMALL_PICTURE == counter.count([small])


def test_a_document_costs_more_the_larger_it_is() -> None:
    pages = [
        HumanMessage([{"type": "file", "base64": "A" * size, "mime_type": "application/pdf"}]) for size in (9, 10**6)
    ]
    counter = MessageCounter()

    assert counter.count(pages[:1]) < counter.count(pages[1:])


def test_definitions_of_tools_cost_tokens_and_other_options_do_not() -> None:
    counter = MessageCounter()

    assert 0 == counter.options({"temperature": 1, "tools": []})
    assert 5 < counter.options({"tools": [{"name": "pay", "description": "Pays somebody."}]})


def test_what_is_remembered_is_bounded() -> None:
    counter = MessageCounter(kept=10)
    for n in range(100):
        counter.count([HumanMessage(str(n))])

    assert len(counter._known) <= 10


def test_what_is_remembered_of_long_texts_is_bounded_too() -> None:
    counter = MessageCounter(held=1_000)
    for n in range(100):
        counter.count([HumanMessage(f"{n} " * 100)])

    assert sum(map(len, counter._known)) <= 2_000


def test_many_threads_count_the_same() -> None:
    counter, found = MessageCounter(kept=5), set()

    def counts() -> None:
        found.add(counter.count([HumanMessage(f"message {n}") for n in range(20)]))

    threads = [threading.Thread(target=counts) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 == len(found)
