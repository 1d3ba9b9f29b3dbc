"""What a runner of LangGraph's own store tests needs to run them on `TieredStore`: a factory of stores."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from memory import AsyncTieredStore, TieredStore


class Conforming(TieredStore):
    """With the connection in sight, because one of the tests looks for a table of vectors in it."""

    @property
    def conn(self) -> sqlite3.Connection:
        return self._database.connection


class TIERED:
    """A store for each way in which the tests ask for one."""

    @staticmethod
    def make(**options: Any) -> TieredStore:
        return Conforming(":memory:", **options)

    @staticmethod
    @contextmanager
    def sync_cm(conn: str = ":memory:", *, index: Any = None, ttl: Any = None) -> Iterator[TieredStore]:
        with _place(conn) as path, Conforming(path, index=_named_as_here(index), ttl=ttl) as store:
            yield store

    @staticmethod
    @asynccontextmanager
    async def async_cm(
        conn: str = ":memory:", *, index: Any = None, ttl: Any = None
    ) -> AsyncIterator[AsyncTieredStore]:
        with _place(conn) as path:
            async with AsyncTieredStore(Conforming(path, index=_named_as_here(index), ttl=ttl)) as store:
                yield store


@contextmanager
def _place(conn: str) -> Iterator[str]:
    """The tests delete the file they name and none of those beside it, so it stands in for a folder."""
    if conn == ":memory:":
        yield conn
        return
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder) / "memory.db")


def _named_as_here(index: Any) -> Any:
    """SqliteStore calls `fields` by another name."""
    return index and {**index, "fields": index.get("text_fields") or ["$"]}
