"""When a memory changes its tier: rules as values, decided without a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from memory.namespaces import Namespace
from memory.results import Recalled

Triple = tuple[str, str, str]
DAY = 86_400_000_000


class Use(NamedTuple):
    """An item, and how it is used; times are microseconds."""

    namespace: Namespace
    key: str
    pinned: bool
    reads: int
    used_at: int
    importance: float


@dataclass(frozen=True, slots=True)
class Policy:
    """What moves when.

    Hot items become warm once they were recalled `reads` times, or when there are more than `hot_items`, or more than
    `hot_words` words in them. `extract` finds facts in a text: (subject, relation, object); those that `sources`
    memories state, or a pinned one, become cold. The rest says what `worth` is made of.
    """

    reads: int = 2
    hot_items: int = 200
    hot_words: int = 8_000
    sources: int = 2
    extract: Callable[[str], Iterable[Triple]] | None = None
    half_life_days: float = 30.0
    use_share: float = 0.5
    recency_share: float = 0.3
    importance_share: float = 0.2

    def worth(self, use: Use, now: int) -> float:
        """How much an item deserves to stay in the index, from 0 to 1."""
        used = use.reads / (use.reads + self.reads)
        recent = float(0.5 ** ((now - use.used_at) / DAY / self.half_life_days))
        return self.use_share * used + self.recency_share * recent + self.importance_share * use.importance

    def surplus(self, uses: Sequence[Use], now: int, keep: int) -> list[Use]:
        """All but the `keep` items of most worth; what is pinned stays, and counts."""
        free = sorted(
            (use for use in uses if not use.pinned), key=lambda use: (-self.worth(use, now), use.namespace, use.key)
        )
        return free[max(0, keep - (len(uses) - len(free))) :]

    def agreed(self, items: Iterable[Recalled]) -> dict[tuple[Namespace, Triple], list[Recalled]]:
        """The facts that enough memories state, each with those."""
        stated = defaultdict[tuple[Namespace, Triple], list[Recalled]](list)
        for item in items:
            for triple in dict.fromkeys(self.extract(str(item.value.get("text", ""))) if self.extract else ()):
                stated[item.namespace, triple].append(item)
        return {
            fact: by
            for fact, by in stated.items()
            if len(by) >= self.sources or any(item.value.get("pinned") for item in by)
        }


def said_at(item: Recalled) -> datetime:
    """When a memory was said, or else when it was stored."""
    try:
        return datetime.fromisoformat(str(item.value.get("at"))).astimezone()
    except ValueError:
        return item.created_at


POLICY = Policy()
