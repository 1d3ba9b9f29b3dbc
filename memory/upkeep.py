"""What the upkeep of a store reads and notes: how items are used, what there is of them, all of them in turn."""

from __future__ import annotations

import json
from collections.abc import Mapping

from langgraph.store.base import PutOp

from memory.database import Database
from memory.lifecycle import Use
from memory.namespaces import Namespace, decode, encode, range_of


def note_reads(database: Database, reads: Mapping[tuple[Namespace, str], int], now: int) -> None:
    """Add up how often items were recalled."""
    with database.writing() as db:
        db.executemany(
            "UPDATE items SET reads = reads + ?, read_at = ? WHERE key = ?"
            " AND scope = (SELECT id FROM scopes WHERE namespace = ?)",
            [(times, now, key, encode(namespace)) for (namespace, key), times in reads.items()],
        )


def counts(database: Database) -> dict[str, int]:
    """How many items are found by recall, how many by their keys alone, and how much stands behind them."""
    with database.reading() as db:
        [(warm, cold, bare)] = db.execute(
            "SELECT count(*) FILTER (WHERE words > 0), count(*) FILTER (WHERE words = 0), count(*) FILTER"
            " (WHERE words > 0 AND id NOT IN (SELECT item FROM vectors)) FROM items"
        ).fetchall()
        facts, vectors, waiting = (
            int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in ("facts", "vectors", "outbox")
        )
    return {
        "warm": warm, "cold": cold, "facts": facts, "vectors": vectors, "without_vectors": bare, "outbox": waiting
    }  # fmt: skip


def uses(database: Database, prefix: Namespace) -> list[Use]:
    """How the items under a prefix that are in the index are used."""
    with database.reading() as db:
        rows = db.execute(
            "SELECT s.namespace, i.key, i.value, i.reads, coalesce(i.read_at, i.updated), i.importance FROM items i"
            " JOIN scopes s ON s.id = i.scope WHERE s.namespace >= ? AND s.namespace < ? AND i.words > 0",
            range_of(prefix),
        ).fetchall()
    return [
        Use(decode(space), key, bool(json.loads(value).get("pinned")), reads, used_at, importance)
        for space, key, value, reads, used_at, importance in rows
    ]


def items_after(database: Database, after: int, most: int) -> list[tuple[int, PutOp]]:
    """Items from a number on, as the writes that would make them."""
    with database.reading() as db:
        rows = db.execute(
            "SELECT i.id, s.namespace, i.key, i.value, i.fields FROM items i JOIN scopes s ON s.id = i.scope"
            " WHERE i.id > ? ORDER BY i.id LIMIT ?",
            (after, most),
        ).fetchall()
    return [
        (id, PutOp(decode(space), key, json.loads(value), fields and json.loads(fields)))
        for id, space, key, value, fields in rows
    ]
