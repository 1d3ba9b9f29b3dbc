"""Filters: operators mean what they say, and what is no operator raises."""

from __future__ import annotations

from typing import Any

import pytest

from memory import TieredStore, UnknownOperator

ITEMS: dict[str, dict[str, Any]] = {
    "ada": {"age": 36, "role": "admin", "tags": ["a", "b"], "address": {"city": "London"}},
    "bob": {"age": 41, "role": "user", "active": True},
    "eve": {"age": "5", "role": None, "address": {"city": "Paris"}},
}


@pytest.fixture
def people(by_words: TieredStore) -> TieredStore:
    for key, value in ITEMS.items():
        by_words.put(("people",), key, value)
    return by_words


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"role": "admin"}, "ada"),
        ({"address.city": "Paris"}, "eve"),
        ({"age": {"$gt": 2}}, "ada bob"),  # text is no number, whatever it looks like
        ({"age": {"$gte": 36, "$lt": 41}}, "ada"),
        ({"role": {"$in": ["admin", "user"]}}, "ada bob"),
        ({"role": {"$nin": ["admin", "user"]}}, "eve"),
        ({"active": {"$exists": True}}, "bob"),
        ({"active": {"$exists": False}}, "ada eve"),
        ({"active": {"$ne": True}}, "ada eve"),
        ({"active": 1}, ""),  # nor is a number a truth value
        ({"role": None}, "eve"),
        ({"tags": ["a", "b"]}, "ada"),
        ({"$or": [{"role": "admin"}, {"age": {"$gt": 40}}]}, "ada bob"),
        ({"$and": [{"role": "user"}, {"age": 41}]}, "bob"),
        ({"$not": {"role": "admin"}}, "bob eve"),
        ({"age": {"$not": {"$gt": 40}}}, "ada eve"),
        ({"address": {"city": "London"}}, "ada"),
    ],
)
def test_a_filter_finds_what_it_describes(people: TieredStore, filter: dict[str, Any], expected: str) -> None:
    assert expected.split() == sorted(item.key for item in people.search(("people",), filter=filter))


@pytest.mark.parametrize(
    "filter",
    [
        {"age": {"$near": 3}},
        {"age": {"$gt": 3, "plain": 4}},
        {"$xor": []},
        {"$and": {"age": 3}},
        {"role": {"$in": "admin"}},
        {"$not": {"age": {"$what": 1}}},
    ],
)
def test_an_unknown_operator_raises_before_anything_is_read(by_words: TieredStore, filter: dict[str, Any]) -> None:
    """An empty answer would look like the truth: the store is empty here, and it still raises."""
    with pytest.raises(UnknownOperator):
        by_words.search(("people",), filter=filter)


def test_a_key_that_is_no_field_is_refused(by_words: TieredStore) -> None:
    with pytest.raises(ValueError, match="Invalid filter key"):
        by_words.search(("people",), filter={"a') OR 1=1 --": 1})
