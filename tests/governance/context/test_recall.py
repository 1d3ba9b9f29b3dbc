"""Recall finds what a question is about, and nothing where it is about nothing."""

from __future__ import annotations

from langchain_core.messages import ToolMessage

from governance.context.notes import notes_of, terms_of
from governance.context.recall import Segment, best, segment


def chunk(*texts: str) -> Segment:
    results = [ToolMessage(text, tool_call_id="c", name="find") for text in texts]
    return segment(record for result in results for record in notes_of(result).records)


FLIGHTS = chunk(*(f'{{"flight": "HAT{n}", "from": "ATL", "price": {n * 3}}}' for n in range(100, 140)))


def test_an_identifier_finds_its_record() -> None:
    assert ["flight HAT117 | from ATL | price 351"] == [
        one.text for one in best([FLIGHTS], terms_of("Book HAT117."), 5)
    ]


def test_words_that_all_records_share_find_nothing() -> None:
    assert [] == best([FLIGHTS], terms_of("Which flight from ATL has the best price?"), 5)


def test_of_two_records_that_fit_alike_the_newer_comes_first() -> None:
    older, newer = chunk('{"card": "card_7", "state": "open"}'), chunk('{"card": "card_7", "state": "blocked"}')
    found = best([older, FLIGHTS, newer], terms_of("Is card_7 good?"), 5)

    assert ["card card_7 | state blocked", "card card_7 | state open"] == [one.text for one in found]


def test_where_nothing_was_left_out_nothing_is_found() -> None:
    assert [] == best([], terms_of("Book HAT117."), 5)
    assert [] == best([segment(())], terms_of("Book HAT117."), 5)
