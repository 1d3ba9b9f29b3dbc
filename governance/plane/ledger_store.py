"""What a ledger needs of the place it is kept in: a file of SQLite, or a server of PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from governance.plane.ledger_rows import Event, Group, Head

SERVER = ("postgresql://", "postgres://")
Place = str | os.PathLike[str]
AWAY = "ledger-away"
"""The code of errors of a server that cannot be reached, or ended a transaction by itself."""


class Reader(Protocol):
    """One consistent look at a ledger, whatever is written meanwhile."""

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query with `?` for its values, streamed."""

    def meta(self) -> dict[str, str]:
        """What the ledger says about itself."""

    def damages(self) -> Iterator[str]:
        """What is wrong with the place itself: a torn file, tables that are not ours."""


class Change(Protocol):
    """One transaction that keeps house: what it deletes, moves and records becomes true together, or not."""

    def execute(self, query: str, *values: Any) -> int:
        """Run a statement with `?` for its values; how many rows it met."""

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]: ...

    def append(self, events: list[Event]) -> None:
        """Put events on record in the same transaction."""


class Store(Protocol):
    """Rows of one ledger; `append` and `change` are for one thread at a time, `reader` and `head` for any."""

    name: str
    """How messages call it; never with a password."""

    def append(self, events: list[Event], *, durable: bool) -> Group | None:
        """Write events in one transaction and return its group; with `durable` all that was written is on disk.

        Raises `LedgerError` with the code `AWAY` where it may be tried again: with the very same events, which
        are written once however often that happens.
        """

    def head(self, session: str) -> Head | None:
        """Where a session's chain stands; None where it has none, or there is no ledger yet."""

    def reader(self) -> AbstractContextManager[Reader]:
        """Raises `LedgerError` where there is no ledger to read."""

    def change(self, work: Callable[[Change], None]) -> None:
        """Run `work` in one durable transaction and let go of the space of what it deleted."""

    def free(self) -> int | None:
        """Bytes left where it is kept; None where that is not for us to know."""

    def close(self) -> None:
        """Let go; the next use opens it again."""


def is_server(place: Place) -> bool:
    return isinstance(place, str) and place.startswith(SERVER)


def store_of(place: Place, key: bytes | None = None) -> Store:
    """The store behind a path or a URL; nothing is opened yet."""
    if is_server(place):
        from governance.plane.ledger_postgres import PostgresStore

        return PostgresStore(str(place), key)
    from governance.plane.ledger_file import LedgerFile

    return LedgerFile(Path(place), key)
