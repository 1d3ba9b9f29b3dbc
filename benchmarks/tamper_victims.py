"""Ledgers to tamper with: honest ones, on both stores, that can be changed and put back as they were."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.postgres import empty_schema
from governance.plane.anchors import Anchor
from governance.plane.ledger import Ledger
from governance.plane.ledger_schema import NAMES
from governance.plane.ledger_store import Place
from governance.plane.verify import verify


class Editor(Protocol):
    """Somebody with write access to the place a ledger is kept in."""

    def execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class Victim:
    """A ledger that can be changed and put back as it was."""

    place: Place
    anchor: Anchor
    edit: Callable[[], Any]
    """A context with an `Editor`; what it does is committed."""
    restore: Callable[[], None]


def write(place: Place, rng: random.Random) -> None:
    """An honest ledger of a few sessions, with payloads, in a few groups."""
    ledger = Ledger(place)
    for number in range(rng.randint(20, 60)):
        session = f"s{rng.randrange(6)}"
        payloads = {"input": {"text": rng.random()}} if rng.random() < 0.3 else None
        body = {"args": {"amount": rng.randrange(1000), "by": rng.choice(["alice", "bob"])}}
        ledger.record(session, "tool.ended", path=f"n#{number}", body=body, tokens=number, payloads=payloads)
        if rng.random() < 0.2:
            ledger.flush()
    for session in ("s0", "s1", "last"):
        ledger.record(session, "model.ended", payloads={"input": session})
    ledger.flush()
    ledger.close()


class FileEditor:
    """Edits a file of SQLite."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(query, values).fetchall()


class ServerEditor:
    """Edits the tables of a server."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self._db.execute(query.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []


def file_victim(path: Path, rng: random.Random) -> Victim:
    write(path, rng)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept, anchor = path.read_bytes(), verify(path).anchor
    assert anchor is not None

    @contextmanager
    def edit() -> Iterator[Editor]:
        with closing(sqlite3.connect(path)) as db, db:
            yield FileEditor(db)

    def restore() -> None:
        for file in path.parent.glob(f"{path.name}-*"):
            file.unlink()
        path.write_bytes(kept)

    return Victim(path, anchor, edit, restore)


def server_victim(url: str, rng: random.Random, stack: ExitStack) -> Victim:
    import psycopg

    place = empty_schema(url)
    write(place, rng)
    anchor = verify(place).anchor
    assert anchor is not None
    db = stack.enter_context(psycopg.connect(place, autocommit=True))
    for name in NAMES:
        db.execute(f"CREATE TABLE kept_{name} AS SELECT * FROM {name}")  # type: ignore[arg-type]  # a name of ours

    @contextmanager
    def edit() -> Iterator[Editor]:
        with db.transaction():
            yield ServerEditor(db)

    def restore() -> None:
        with db.transaction():
            for name in NAMES:
                db.execute(f"DELETE FROM {name}")  # type: ignore[arg-type]  # a name of ours
                db.execute(f"INSERT INTO {name} SELECT * FROM kept_{name}")  # type: ignore[arg-type]  # a name of ours

    return Victim(place, anchor, edit, restore)
