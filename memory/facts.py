"""The cold tier: facts with two times. When a fact held in the world, and when the store came to know it.

Nothing is overwritten. A correction retracts what was believed and records what is believed now, so both "what held in
May?" and "what did we think in May?" have answers.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from memory.database import Database
from memory.namespaces import Namespace, encode
from memory.results import micros_of, time_of
from memory.tombstones import Tombstones

if TYPE_CHECKING:
    import networkx as nx

MOST_EDGES = 50_000
_PAGE = 500


class Row(NamedTuple):
    """A fact as it is stored; times are microseconds."""

    id: int
    subject: str
    relation: str
    object: str
    valid_at: int
    invalid_at: int | None
    recorded_at: int
    retracted_at: int | None
    sources: str


class Fact(NamedTuple):
    """A subject stands in a relation to an object, from `valid_at` on and until `invalid_at`, if that is known."""

    subject: str
    relation: str
    object: str
    valid_at: datetime
    invalid_at: datetime | None
    recorded_at: datetime
    sources: tuple[str, ...]


_COLUMNS = ", ".join(Row._fields)
_HELD = (
    "scope = (SELECT id FROM scopes WHERE namespace = :scope)"
    " AND valid_at <= :at AND (invalid_at IS NULL OR invalid_at > :at)"
    " AND recorded_at <= :known AND (retracted_at IS NULL OR retracted_at > :known)"
)


class Facts:
    """The facts of a store. `as_of` is a time in the world, `known_at` one of the store's; both are now by default."""

    def __init__(self, database: Database, tombstones: Tombstones, *, now: Callable[[], int]) -> None:
        self._database = database
        self._tombstones = tombstones
        self._now = now

    def add(
        self,
        scope: Namespace,
        subject: str,
        relation: str,
        object: str,
        *,
        valid_at: datetime | None = None,
        sources: Sequence[str] = (),
        instead: bool = False,
    ) -> None:
        """Record a fact; said again, it gains sources. With `instead`, what else stands in this relation ends there."""
        now = self._now()
        since = now if valid_at is None else micros_of(valid_at)
        with self._database.writing() as db:
            id = self._scope(db, scope)
            rows = self._open(db, id, subject, relation)
            same = [row for row in rows if row.object.casefold() == object.casefold()]
            for row in rows if instead else ():
                if row not in same:
                    self._end(db, id, row, since, now)
            known = [source for row in same for source in json.loads(row.sources)]
            begun = min([since, *(row.valid_at for row in same)])
            if same and begun == same[0].valid_at and set(sources) <= set(known):
                return
            for row in same:
                self._retract(db, row, now)
            merged = json.dumps(list(dict.fromkeys([*known, *sources])))
            self._insert(db, id, Row(0, subject, relation, object, begun, None, now, None, merged))

    def invalidate(
        self, scope: Namespace, subject: str, relation: str, object: str | None = None, *, at: datetime | None = None
    ) -> int:
        """Say that facts stopped to hold, now or `at` a time; how many. They are kept: `as_of` still finds them."""
        now = self._now()
        with self._database.writing() as db:
            id = self._scope(db, scope)
            rows = self._open(db, id, subject, relation)
            ended = [row for row in rows if object is None or row.object.casefold() == object.casefold()]
            for row in ended:
                self._end(db, id, row, now if at is None else micros_of(at), now)
        return len(ended)

    def about(
        self,
        scope: Namespace,
        names: Iterable[str] | None = None,
        *,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> list[Fact]:
        """The facts that held then, as known then: all of the scope, or those with one of these names at an end."""
        times = self._times(scope, as_of, known_at)
        if names is not None:
            rows = {row.id: row for row in self._touching(list(dict.fromkeys(names)), times)}
            return sorted(map(_fact, rows.values()))
        with self._database.reading() as db:
            return sorted(_fact(Row(*row)) for row in db.execute(f"SELECT {_COLUMNS} FROM facts WHERE {_HELD}", times))

    def around(
        self,
        scope: Namespace,
        names: Iterable[str],
        *,
        hops: int = 2,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
        most: int = MOST_EDGES,
    ) -> nx.MultiDiGraph[str]:
        """What is within `hops` facts of some names, as a networkx graph of at most `most` edges.

        An edge carries its `relation` and the `fact`.
        """
        import networkx as nx  # here, because most programs with a store ask for no graph

        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        times = self._times(scope, as_of, known_at)
        frontier, reached, seen = list(dict.fromkeys(names)), set[str](), set[int]()
        for _ in range(hops):
            reached.update(name.casefold() for name in frontier)
            ends = dict[str, str]()
            for row in self._touching(frontier, times):
                if row.id in seen:
                    continue
                if len(seen) == most:
                    return graph
                seen.add(row.id)
                graph.add_edge(row.subject, row.object, relation=row.relation, fact=_fact(row))
                ends |= {name.casefold(): name for name in (row.subject, row.object)}
            frontier = [name for folded, name in ends.items() if folded not in reached]
        return graph

    def _touching(self, names: Sequence[str], times: dict[str, object]) -> Iterator[Row]:
        for start in range(0, len(names), _PAGE):
            page = {f"n{n}": name for n, name in enumerate(names[start : start + _PAGE])}
            marks = ", ".join(f":{mark}" for mark in page)
            for end in ("subject", "object"):  # each by its own index; together they would scan the scope
                with self._database.reading() as db:
                    rows = db.execute(
                        f"SELECT {_COLUMNS} FROM facts WHERE {end} IN ({marks}) AND {_HELD} ORDER BY id", times | page
                    ).fetchall()
                yield from (Row(*row) for row in rows)

    def _times(self, scope: Namespace, as_of: datetime | None, known_at: datetime | None) -> dict[str, object]:
        now = self._now()
        at, known = (now if time is None else micros_of(time) for time in (as_of, known_at))
        return {"scope": encode(scope), "at": at, "known": known}

    def _open(self, db: sqlite3.Connection, scope: int, subject: str, relation: str) -> list[Row]:
        """What is believed and has no end yet."""
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM facts WHERE scope = ? AND subject = ? AND relation = ?"
            " AND retracted_at IS NULL AND invalid_at IS NULL ORDER BY id",
            (scope, subject, relation),
        )
        return [Row(*row) for row in rows]

    def _end(self, db: sqlite3.Connection, scope: int, row: Row, at: int, now: int) -> None:
        """Believe from now on that it held until then; if that is before it began, that it never did."""
        self._retract(db, row, now)
        if at > row.valid_at:
            self._insert(db, scope, row._replace(invalid_at=at, recorded_at=now))

    def _retract(self, db: sqlite3.Connection, row: Row, now: int) -> None:
        db.execute("UPDATE facts SET retracted_at = ? WHERE id = ?", (now, row.id))

    def _insert(self, db: sqlite3.Connection, scope: int, row: Row) -> None:
        marks = ", ".join("?" * len(row))
        db.execute(f"INSERT INTO facts(scope, {_COLUMNS.removeprefix('id, ')}) VALUES({marks})", (scope, *row[1:]))

    def _scope(self, db: sqlite3.Connection, scope: Namespace) -> int:
        self._tombstones.refuse(db, scope)
        db.execute("INSERT OR IGNORE INTO scopes(namespace) VALUES(?)", (encode(scope),))
        return int(db.execute("SELECT id FROM scopes WHERE namespace = ?", (encode(scope),)).fetchone()[0])


def _fact(row: Row) -> Fact:
    end = None if row.invalid_at is None else time_of(row.invalid_at)
    sources = () if row.sources == "[]" else tuple(json.loads(row.sources))
    return Fact(
        row.subject, row.relation, row.object, time_of(row.valid_at), end, time_of(row.recorded_at), sources
    )  # fmt: skip
