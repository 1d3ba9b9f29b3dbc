"""Forgetting a scope, in every tier and every file, and looking whether it is gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from memory.database import Database
from memory.namespaces import Namespace, range_of

_CHUNK = 1 << 22
_LONGEST_PROBE = 200
_SHORTEST_PROBE = 8
_MOST_PROBES = 100
_TABLES = ("items", "words", "vectors", "outbox", "facts")


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased, and what a search of the files found of it: `left` is 0, or `found_in` names them."""

    scope: Namespace
    at: datetime
    items: int
    facts: int
    vectors: int
    files: int
    probes: int
    left: int
    found_in: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return self.left == 0


def erased_rows(database: Database, scope: Namespace) -> tuple[dict[str, int], list[bytes]]:
    """Delete all rows under a scope; how many of each table, and what to look for in the files.

    Called inside the transaction that also writes the tombstone.
    """
    low, high = range_of(scope)
    with database.writing() as db:
        under = db.execute("SELECT id FROM scopes WHERE namespace >= ? AND namespace < ?", (low, high))
        ids = [int(id) for (id,) in under]
        probes = {probe for id in ids for probe in _probes(database, id)}
        counts = dict.fromkeys(_TABLES, 0)
        for id in ids:
            for table in _TABLES:
                counts[table] += db.execute(f"DELETE FROM {table} WHERE scope = ?", (id,)).rowcount
            db.execute("DELETE FROM scopes WHERE id = ?", (id,))
        some = sorted(probes)[:: max(1, len(probes) // _MOST_PROBES)]
        return counts, [probe for probe in some if not _elsewhere(database, probe)]


def _probes(database: Database, scope: int) -> Iterator[bytes]:
    """Bytes that stand for what is deleted: values, keys, ends of facts, vectors."""
    with database.reading() as db:
        texts = db.execute(
            "SELECT value FROM items WHERE scope = ?1 UNION SELECT key FROM items WHERE scope = ?1"
            " UNION SELECT subject FROM facts WHERE scope = ?1 UNION SELECT object FROM facts WHERE scope = ?1",
            (scope,),
        )
        for (text,) in texts.fetchall():
            probe = str(text).encode("utf-8", "surrogatepass")[:_LONGEST_PROBE]
            if len(probe) >= _SHORTEST_PROBE:
                yield probe
        for (data,) in db.execute("SELECT data FROM vectors WHERE scope = ?", (scope,)):
            if any(data):
                yield bytes(data[:_LONGEST_PROBE])


def _elsewhere(database: Database, probe: bytes) -> bool:
    """Whether another scope holds the same, by right."""
    text = probe.decode("utf-8", "replace")
    with database.reading() as db:
        return any(
            db.execute(query, (value,)).fetchone()
            for query, value in (
                ("SELECT 1 FROM items WHERE instr(value, ?) LIMIT 1", text),
                ("SELECT 1 FROM items WHERE key = ? LIMIT 1", text),
                ("SELECT 1 FROM facts WHERE subject = ?1 OR object = ?1 LIMIT 1", text),
                ("SELECT 1 FROM vectors WHERE substr(data, 1, 200) = ? LIMIT 1", probe),
            )
        )


def search(files: Sequence[Path], probes: Sequence[bytes]) -> tuple[int, tuple[str, ...]]:
    """How often any of the probes stands in the files, and in which of them."""
    found = {str(file): sum(_count(file, probes)) for file in files}
    return sum(found.values()), tuple(name for name, times in found.items() if times)


def _count(file: Path, probes: Sequence[bytes]) -> Iterator[int]:
    """Read in pieces that overlap by the length of a probe, so that none is cut in two unseen."""
    with file.open("rb") as stream:
        tail = b""
        while chunk := stream.read(_CHUNK):
            piece = tail + chunk
            yield sum(probe in piece for probe in probes)
            tail = piece[-_LONGEST_PROBE:]
