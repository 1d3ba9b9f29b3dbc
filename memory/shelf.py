"""Items in one database: written, read, listed, expired. The warm tier is one on a file, the hot tier one in memory."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from langgraph.store.base import Item

from memory.conditions import Test
from memory.database import Database
from memory.drafts import Draft, digest_of
from memory.namespaces import Namespace, decode, encode, range_of
from memory.results import Recalled, item_of, time_of
from memory.stems import stems
from memory.tombstones import Tombstones

MINUTE = 60_000_000


class Row(NamedTuple):
    """An item as it is stored."""

    id: int
    key: str
    value: str
    created: int
    updated: int
    expires: int | None
    ttl: float | None


_WRITTEN = (
    "scope, key, value, fields, created, updated, expires, ttl, session, speaker, day, early, late, marks, importance"
)
_REPLACED = ", ".join(f"{name}=excluded.{name}" for name in _WRITTEN.split(", ")[2:] if name != "created")
_COLUMNS = ", ".join(f"i.{column}" for column in Row._fields)


class Shelf:
    """The items of one database. `now` tells microseconds since 1970, `omit` hides what has expired."""

    def __init__(
        self, database: Database, tombstones: Tombstones, *, tier: str, now: Callable[[], int], omit: bool
    ) -> None:
        self.database = database
        self._tombstones = tombstones
        self.tier = tier
        self.now = now
        self._omit = omit

    # What is written

    def write(self, drafts: Iterable[Draft], vectors: Mapping[str, bytes]) -> set[int]:
        """All of it in one transaction, an item that comes twice as it came last; the scopes that this changed."""
        last = {(draft.namespace, draft.key): draft for draft in drafts}
        with self.database.writing() as db:
            return {
                self._delete(db, draft) if draft.value is None else self._put(db, draft, vectors)
                for draft in last.values()
            }

    def _put(self, db: sqlite3.Connection, draft: Draft, vectors: Mapping[str, bytes]) -> int:
        self._tombstones.refuse(db, draft.namespace)
        scope, now = self._scope(db, draft.namespace), self.now()
        day, early, late = draft.days or (None, None, None)
        row = (
            scope, draft.key, draft.value, draft.fields, now, now,
            None if draft.ttl is None else now + int(draft.ttl * MINUTE), draft.ttl,
            draft.session, draft.speaker, day, early, late, draft.marks, draft.importance,
        )  # fmt: skip
        [(item,)] = db.execute(
            f"INSERT INTO items({_WRITTEN}) VALUES({', '.join('?' * len(row))}) ON CONFLICT(scope, key)"
            f" DO UPDATE SET {_REPLACED} RETURNING id",
            row,
        ).fetchall()
        self._index(db, scope, item, draft, vectors)
        return scope

    def _index(self, db: sqlite3.Connection, scope: int, item: int, draft: Draft, vectors: Mapping[str, bytes]) -> None:
        """Make an item found by the texts of its draft, and by nothing else."""
        self._forget_index(db, scope, item)
        counted = Counter(word for text in draft.texts for word in stems(text))
        # A text without words is indexed too, and found by its vector.
        db.execute("UPDATE items SET words = ? WHERE id = ?", (max(sum(counted.values()), bool(draft.texts)), item))
        db.executemany(
            "INSERT INTO words VALUES(?, ?, ?, ?)", [(scope, term, item, times) for term, times in counted.items()]
        )
        for text in dict.fromkeys(draft.texts):
            if text in vectors:
                self._add_vector(db, scope, item, digest_of(text), vectors[text])

    def _add_vector(self, db: sqlite3.Connection, scope: int, item: int, digest: bytes, data: bytes) -> None:
        new = db.execute(
            "INSERT INTO vectors(scope, item, digest, data) VALUES(?, ?, ?, ?)", (scope, item, digest, data)
        )
        db.execute(
            "INSERT INTO outbox(scope, vector, gone) SELECT id, ?, 0 FROM scopes WHERE id = ? AND indexed",
            (new.lastrowid, scope),
        )

    def _delete(self, db: sqlite3.Connection, draft: Draft) -> int:
        row = db.execute(
            "SELECT i.scope, i.id FROM items i JOIN scopes s ON s.id = i.scope WHERE s.namespace = ? AND i.key = ?",
            (encode(draft.namespace), draft.key),
        ).fetchone()
        if row is None:
            return -1
        self._forget(db, *row)
        return int(row[0])

    def _forget(self, db: sqlite3.Connection, scope: int, item: int) -> None:
        self._forget_index(db, scope, item)
        db.execute("DELETE FROM items WHERE id = ?", (item,))

    def _forget_index(self, db: sqlite3.Connection, scope: int, item: int) -> None:
        db.execute("UPDATE scopes SET version = version + 1 WHERE id = ?", (scope,))
        db.execute(
            "INSERT INTO outbox(scope, vector, gone) SELECT v.scope, v.id, 1 FROM vectors v"
            " JOIN scopes s ON s.id = v.scope WHERE v.scope = ? AND v.item = ? AND s.indexed",
            (scope, item),
        )
        db.execute("DELETE FROM vectors WHERE scope = ? AND item = ?", (scope, item))
        db.execute("DELETE FROM words WHERE item = ?", (item,))

    def sweep(self) -> int:
        """Delete what has expired; how many items that were."""
        with self.database.writing() as db:
            gone = db.execute("SELECT scope, id FROM items WHERE expires < ?", (self.now(),)).fetchall()
            for scope, item in gone:
                self._forget(db, scope, item)
        return len(gone)

    def reindex(self, drafts: Mapping[int, Draft], vectors: Mapping[str, bytes]) -> None:
        """Make items found by their texts again; neither their values nor their times change."""
        with self.database.writing() as db:
            for item, draft in drafts.items():
                for (scope,) in db.execute("SELECT scope FROM items WHERE id = ?", (item,)).fetchall():
                    self._index(db, scope, item, draft, vectors)

    def unindex(self, places: Iterable[tuple[Namespace, str]]) -> None:
        """Keep items, and have them found by their keys alone."""
        with self.database.writing() as db:
            for namespace, key in places:
                for scope, item in db.execute(
                    "UPDATE items SET fields = '[]', words = 0 WHERE key = ?"
                    " AND scope = (SELECT id FROM scopes WHERE namespace = ?) RETURNING scope, id",
                    (key, encode(namespace)),
                ).fetchall():
                    self._forget_index(db, scope, item)

    # What is read

    def get(self, namespace: Namespace, key: str) -> Item | None:
        row = self.row(namespace, key)
        return row and item_of(namespace, row.key, json.loads(row.value), row.created, row.updated)

    def row(self, namespace: Namespace, key: str) -> Row | None:
        with self.database.reading() as db:
            found = db.execute(
                f"SELECT {_COLUMNS} FROM items i JOIN scopes s ON s.id = i.scope WHERE s.namespace = ? AND i.key = ?",
                (encode(namespace), str(key)),
            ).fetchone()
        return Row(*found) if found and self._lives(Row(*found)) else None

    def rows(self, ids: Sequence[int]) -> dict[int, Row]:
        """Items by their ids; those that have expired are left out."""
        marks = ",".join("?" * len(ids))
        with self.database.reading() as db:
            found = [
                Row(*row) for row in db.execute(f"SELECT {_COLUMNS} FROM items i WHERE id IN ({marks})", list(ids))
            ]
        return {row.id: row for row in found if self._lives(row)}

    def newest(self, prefix: Namespace, test: Test, most: int) -> list[Recalled]:
        """The items under a prefix that pass the test, the one that changed last first; no score."""
        low, high = range_of(prefix)
        found = list[Recalled]()
        with self.database.reading() as db:
            cursor = db.execute(
                f"SELECT s.namespace, {_COLUMNS} FROM items i"
                " JOIN scopes s ON s.id = i.scope WHERE s.namespace >= ? AND s.namespace < ?"
                " ORDER BY i.updated DESC, i.id DESC",
                (low, high),
            )
            for namespace, *columns in cursor if most > 0 else ():
                row = Row(*columns)
                value = json.loads(row.value)
                if self._lives(row) and test(value):
                    found.append(self.recalled(decode(namespace), row, value, None, {}))
                    if len(found) == most:
                        break
        return found

    def recalled(
        self, namespace: Namespace, row: Row, value: dict[str, Any], score: float | None, parts: Mapping[str, float]
    ) -> Recalled:
        return Recalled(
            namespace=namespace, key=row.key, value=value, created_at=time_of(row.created),
            updated_at=time_of(row.updated), score=score, parts=parts, tier=self.tier,
        )  # fmt: skip

    def refresh(self, places: Iterable[tuple[Namespace, str]]) -> None:
        """Put off the end of items that were read; where nothing ever ends this is one look at an empty index."""
        with self.database.reading() as db:
            if db.execute("SELECT 1 FROM items WHERE expires IS NOT NULL LIMIT 1").fetchone() is None:
                return
            rows = [self.row(namespace, key) for namespace, key in places]
        ending = [(self.now() + int(row.ttl * MINUTE), row.id) for row in rows if row and row.ttl is not None]
        if ending:
            with self.database.writing() as db:
                db.executemany("UPDATE items SET expires = ? WHERE id = ?", ending)

    def scopes(self, prefix: Namespace) -> Iterator[tuple[Namespace, int]]:
        """The namespaces under a prefix, each with its number, in the order of their names."""
        low, high = range_of(prefix)
        with self.database.reading() as db:
            found = db.execute(
                "SELECT namespace, id FROM scopes WHERE namespace >= ? AND namespace < ? ORDER BY namespace",
                (low, high),
            ).fetchall()
        yield from ((decode(str(text)), int(id)) for text, id in found)

    def namespaces(self) -> list[Namespace]:
        """Those that hold an item."""
        live = " AND (expires IS NULL OR expires >= ?)" if self._omit else " AND ? IS NOT NULL"
        with self.database.reading() as db:
            found = db.execute(
                f"SELECT namespace FROM scopes s WHERE EXISTS(SELECT 1 FROM items WHERE scope = s.id{live})",
                (self.now(),),
            ).fetchall()
        return [decode(str(text)) for (text,) in found]

    def version(self, scope: int) -> int:
        """A number that every change of a scope moves, whichever process makes it."""
        with self.database.reading() as db:
            row = db.execute("SELECT version FROM scopes WHERE id = ?", (scope,)).fetchone()
        return int(row[0]) if row else -1

    def is_empty(self) -> bool:
        with self.database.reading() as db:
            return db.execute("SELECT 1 FROM items LIMIT 1").fetchone() is None

    def _lives(self, row: Row) -> bool:
        return not self._omit or row.expires is None or row.expires >= self.now()

    def _scope(self, db: sqlite3.Connection, namespace: Namespace) -> int:
        db.execute("INSERT OR IGNORE INTO scopes(namespace) VALUES(?)", (encode(namespace),))
        [(scope,)] = db.execute("SELECT id FROM scopes WHERE namespace = ?", (encode(namespace),)).fetchall()
        return int(scope)
