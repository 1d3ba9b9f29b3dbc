"""Reads a ledger on a server as it stands at one moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from governance.errors import LedgerError
from governance.plane import ledger_schema as schema

if TYPE_CHECKING:
    import psycopg

OURS = "SELECT tablename FROM pg_tables WHERE schemaname=current_schema() AND tablename=ANY(?)"
KEYED = (
    "SELECT conrelid::regclass::text FROM pg_constraint "
    "WHERE contype='p' AND connamespace=current_schema()::regnamespace"
)
TRIGGERS = "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal"


class PostgresReader:
    """One read transaction on a server."""

    def __init__(self, db: psycopg.Connection[Any], name: str) -> None:
        self._db = db
        self._number = 0
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if missing := sorted(set(schema.NAMES) - self._tables()):
            raise LedgerError(f"{name} holds no ledger: it has no table {', '.join(missing)}")

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        self._number += 1
        with self._db.cursor(f"rows{self._number}") as cursor:  # on the server, so that rows are streamed
            cursor.itersize = 2000
            cursor.execute(in_their_words(query), values)
            yield from cursor

    def meta(self) -> dict[str, str]:
        return dict(self.rows("SELECT name, value FROM meta"))

    def damages(self) -> Iterator[str]:
        stated = self.meta().get("version")
        if stated != str(schema.VERSION):
            yield f"the schema is version {stated}, this Sidecar writes version {schema.VERSION}"
        keys = {name for (name,) in self.rows(KEYED)}
        for name in sorted(self._tables() - keys):
            yield f"the table {name!r} has lost its key"
        for table, name in self.rows(TRIGGERS):
            if table in schema.NAMES:
                yield f"there is a trigger {name!r} on {table!r} that no ledger has"

    def _tables(self) -> set[str]:
        return {name for (name,) in self.rows(OURS, list(schema.NAMES))}


def in_their_words(query: str) -> Any:
    """A query with `?` for its values, as psycopg takes it."""
    return query.replace("%", "%%").replace("?", "%s")
