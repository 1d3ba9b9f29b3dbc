"""What a search finds: an item with its score and what that is made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph.store.base import Item, SearchItem

from memory.namespaces import Namespace

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Recalled(SearchItem):
    """A `SearchItem` that says why it was found.

    `score` is the cosine with the query plus what other evidence adds, cut at 1; `parts` says what each adds, and
    results are in the order of their uncut sum. `tier` is where the item lives.
    """

    __slots__ = ("parts", "tier")

    def __init__(self, *, parts: Mapping[str, float], tier: str, **item: Any) -> None:
        super().__init__(**item)
        self.parts = dict(parts)
        self.tier = tier

    @property
    def rank(self) -> tuple[bool, float, Namespace, str]:
        """What results are sorted by: the score, and where that is equal the place; what has no score comes last."""
        return self.score is None, -sum(self.parts.values()), self.namespace, self.key

    def dict(self) -> dict[str, Any]:
        return {**super().dict(), "parts": self.parts, "tier": self.tier}


def merged(items: list[Recalled], *, by_score: bool) -> list[Recalled]:
    """Results of two tiers in one order."""
    if by_score:
        return sorted(items, key=lambda one: one.rank)
    return sorted(items, key=lambda one: (one.updated_at, one.key), reverse=True)


def micros_of(time: datetime) -> int:
    """Microseconds since 1970; a time without a zone is local, as Python has it."""
    return (time.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def time_of(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def item_of(namespace: Namespace, key: str, value: dict[str, Any], created: int, updated: int) -> Item:
    return Item(namespace=namespace, key=key, value=value, created_at=time_of(created), updated_at=time_of(updated))
