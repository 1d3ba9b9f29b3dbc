"""The hot tier: what a conversation has just said, in this process alone, searched as the warm tier is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from langgraph.store.base import Item, PutOp

from memory.database import Database
from memory.drafts import Draft
from memory.index import Ask, Index
from memory.namespaces import Namespace, decode, encode, range_of
from memory.ranking import Weights
from memory.results import Recalled
from memory.shelf import Shelf
from memory.tombstones import Tombstones


class HotTier:
    """Items in memory; gone with the process, unless they are moved on. Empty it costs one look at a flag."""

    def __init__(
        self, tombstones: Tombstones, *, now: Callable[[], int], weights: Weights, dims: int | None, omit: bool
    ) -> None:
        self._database = Database(":memory:")
        self._shelf = Shelf(self._database, tombstones, tier="hot", now=now, omit=omit)
        # There are never so many that comparing all would be slow.
        self._index = Index(self._shelf, weights=weights, dims=dims, nearest=lambda *_: None, exact=1 << 30)
        self.holds = False

    def write(self, drafts: Sequence[Draft], vectors: Mapping[str, bytes]) -> None:
        self._shelf.write(drafts, vectors)
        self.holds = not self._shelf.is_empty()

    def get(self, namespace: Namespace, key: str) -> Item | None:
        return self._shelf.get(namespace, key) if self.holds else None

    def find(self, prefix: Namespace, ask: Ask) -> list[Recalled]:
        if not self.holds:
            return []
        return self._index.search(prefix, ask) if ask.text else self._shelf.newest(prefix, ask.test, ask.most)

    def namespaces(self) -> list[Namespace]:
        return self._shelf.namespaces() if self.holds else []

    def forget(self, places: Sequence[tuple[Namespace, str]]) -> None:
        """Delete items that live elsewhere now, or nowhere."""
        if self.holds:
            self.write([Draft(namespace, key, None, None, (), None) for namespace, key in places], {})

    def read(self, places: Sequence[tuple[Namespace, str]], times: int) -> list[tuple[Namespace, str]]:
        """Note that items were recalled; which of them have been so often enough to be kept."""
        kept = list[tuple[Namespace, str]]()
        with self._database.writing() as db:
            for namespace, key in places:
                rows = db.execute(
                    "UPDATE items SET reads = reads + 1 WHERE key = ?"
                    " AND scope = (SELECT id FROM scopes WHERE namespace = ?) RETURNING reads",
                    (key, encode(namespace)),
                ).fetchall()
                kept += [(namespace, key) for (reads,) in rows if reads >= times]
        return kept

    def moving(self, prefix: Namespace = ()) -> list[PutOp]:
        """Everything under a prefix as writes, in the order in which it came."""
        low, high = range_of(prefix)
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT s.namespace, i.key, i.value, i.fields, i.ttl FROM items i JOIN scopes s ON s.id = i.scope"
                " WHERE s.namespace >= ? AND s.namespace < ? ORDER BY i.id",
                (low, high),
            ).fetchall()
        return [
            PutOp(decode(space), key, json.loads(value), fields and json.loads(fields), ttl)
            for space, key, value, fields, ttl in rows
        ]

    def overflow(self, items: int, words: int) -> list[PutOp]:
        """The oldest items that have to go so that no more than so many items and words stay."""
        with self._database.reading() as db:
            sizes = [int(size) for (size,) in db.execute("SELECT words FROM items ORDER BY id DESC")]
        stay, total = 0, 0
        for size in sizes[:items]:
            total += size
            if total > words:
                break
            stay += 1
        return self.moving()[: len(sizes) - stay] if stay < len(sizes) else []

    def sweep(self) -> int:
        return self._shelf.sweep() if self.holds else 0

    def count(self) -> int:
        with self._database.reading() as db:
            return int(db.execute("SELECT count(*) FROM items").fetchone()[0])

    def close(self) -> None:
        self._database.close()
