"""What a message holds: its values by name, its records, its sentences."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from governance.context.notes import notes_of, values_of
from governance.context.summary import Placed, chosen, told
from governance.context.worth import worth_of
from tests.governance.context.conversations import called


def facts(message: object) -> list[tuple[str, str, str]]:
    return [(note.source, note.name, note.text) for note in notes_of(message).facts]


def test_a_result_gives_each_value_by_its_name() -> None:
    result = ToolMessage(
        '{"user": {"id": "u_77", "zip": "60611"}, "orders": ["W1", "W2"]}', tool_call_id="c", name="find"
    )

    assert [
        ("find", "id", "u_77"),
        ("find", "zip", "60611"),
        ("find", "orders", "W1"),
        ("find", "orders", "W2"),
    ] == facts(result)


def test_a_key_that_is_an_identifier_is_a_value() -> None:
    """Tables by id are as usual in results as lists."""
    result = ToolMessage(
        '{"cards": {"card_17": {"kind": "visa", "more": {"a": [1, {}]}}}}', tool_call_id="c", name="find"
    )

    assert ("find", "cards", "card_17") in facts(result)


def test_what_says_yes_no_or_nothing_is_no_value() -> None:
    assert [] == facts(ToolMessage('{"a": true, "b": null, "c": "", "d": []}', tool_call_id="c"))


def test_what_is_nested_deeper_than_anybody_reads_is_one_text() -> None:
    deep = '{"a":' * 900 + '"W77"' + "}" * 900

    assert 1 == len(facts(ToolMessage(deep, tool_call_id="c")))


def test_the_arguments_of_a_call_are_values_of_its_tool() -> None:
    assert [("look_up", "order", "W5")] == facts(AIMessage("", tool_calls=[called("c", order="W5")]))


def test_text_gives_sentences_and_a_long_one_its_values_too() -> None:
    short, long = "My number is W4711. Thank you!", f"My number is W4711 {'and so on ' * 20}"

    assert ["My number is W4711.", "Thank you!"] == [text for _, _, text in facts(HumanMessage(short))]
    assert "W4711" in [text for _, _, text in facts(HumanMessage(long))]


def test_records_that_are_the_items_of_a_list_are_told_apart() -> None:
    result = ToolMessage('[{"flight": "HAT1", "price": 50}, {"flight": "HAT2", "price": 70}]', tool_call_id="c")

    assert ["flight HAT1 | price 50", "flight HAT2 | price 70"] == [one.text for one in notes_of(result).records]


@pytest.mark.parametrize(
    ("more", "less"),
    [("card_4711", "visa"), ("2024-05-01", "17:00:00"), ("W7", "12"), ("a@b.org", "yes"), ("60611", "59")],
)
def test_identifiers_and_dates_are_worth_more_than_words_and_numbers(more: str, less: str) -> None:
    assert worth_of(more) > worth_of(less)


def test_values_of_a_sentence_are_what_looks_like_an_identifier() -> None:
    assert {"W5", "2024-05-01", "$12.50", "ATL"} == values_of("Pay W5 of 2024-05-01, at $12.50, to ATL please")


def test_what_is_shown_anyway_is_not_told_again_and_waits() -> None:
    notes = [Placed(0, note) for note in notes_of(HumanMessage("My order is W5. My card is card_7.")).facts]
    found = chosen(notes, frozenset({"W5"}), 100, 1)

    assert "user: My card is card_7." == told(found.told)
    assert ["My order is W5."] == [one.note.text for one in found.waiting]


def test_with_little_room_what_holds_most_for_its_length_is_told() -> None:
    text = "The parcel has been sitting on the doorstep since W1 came, wet. Use card_7."
    notes = [Placed(0, note) for note in notes_of(HumanMessage(text)).facts]

    assert "user: Use card_7." == told(chosen(notes, frozenset(), 16, 1).told)
