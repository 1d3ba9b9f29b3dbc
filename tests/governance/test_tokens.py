"""Tokens are counted exactly, once a message, whatever is in it."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from governance.tokens import PER_MESSAGE, PIECE, MessageCounter, count_text


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
    assert counter.count([parts]) > counter.count([HumanMessage("hello world")])


def test_definitions_of_tools_cost_tokens_and_other_options_do_not() -> None:
    counter = MessageCounter()

    assert 0 == counter.options({"temperature": 1, "tools": []})
    assert 5 < counter.options({"tools": [{"name": "pay", "description": "Pays somebody."}]})


def test_what_is_remembered_is_bounded() -> None:
    counter = MessageCounter(kept=10)
    for n in range(100):
        counter.count([HumanMessage(str(n))])

    assert len(counter._known) <= 10


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
