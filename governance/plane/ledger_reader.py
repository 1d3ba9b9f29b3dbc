"""Reads a ledger file as it stands at one moment; one of version 1 is read as it will be after its migration."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from governance.errors import LedgerError
from governance.plane import ledger_schema as schema
from governance.plane.ledger_rows import meta_of

_TOKEN = secrets.token_hex(8)


def _text(raw: bytes) -> str:
    """Stored text; bytes that are none neither end the look at all the rest nor pass for what they look like."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return f"[no text {_TOKEN}: {raw.hex()}]"


class FileReader:
    """One read transaction on a file."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, values)
        except sqlite3.DatabaseError as error:
            raise unreadable(self._path, error) from error

    def meta(self) -> dict[str, str]:
        return dict(self.rows("SELECT name, value FROM meta"))

    def damages(self) -> Iterator[str]:
        for (what,) in self.rows("PRAGMA quick_check(10)"):
            if what != "ok":
                yield f"the file is damaged: {what}"
        stated = next(self.rows("PRAGMA user_version"))[0]
        if stated != schema.VERSION:
            yield f"the schema is version {stated}, this Sidecar writes version {schema.VERSION}"
        ours, theirs = schema.declared(), schema.objects(self._db)
        for key, sql in sorted(theirs.items()):
            if key not in ours:
                yield f"there is a {key[0]} {key[1]!r} that no ledger has"
            elif sql != ours[key]:
                yield f"the {key[0]} {key[1]!r} is not declared as Sidecar declares it"


@contextmanager
def open_file(path: Path) -> Iterator[FileReader]:
    """One look at a ledger file; raises `LedgerError` where it is none."""
    with closing(connect(path)) as db:
        try:
            db.text_factory = _text
            db.execute("BEGIN")
            names = {name for kind, name in schema.objects(db) if kind == "table"}
            version = db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise unreadable(path, error) from error
        if version == 1 and "events" in names:
            with _taken_over(db, path) as newer:
                yield newer
            return
        if missing := sorted(set(schema.NAMES) - names):
            raise LedgerError(f"{path} is no ledger: it has no table {', '.join(missing)}")
        yield FileReader(db, path)


@contextmanager
def _taken_over(db: sqlite3.Connection, path: Path) -> Iterator[FileReader]:
    """A copy that has been migrated, since reading changes nothing of what is read."""
    folder = Path(tempfile.mkdtemp(prefix="sidecar-ledger-"))
    try:
        with closing(sqlite3.connect(folder / "copy.db", isolation_level=None)) as copy:
            db.rollback()
            db.backup(copy)
            copy.execute("BEGIN")
            schema.create_sqlite(copy)
            copy.executemany("INSERT INTO meta VALUES(?,?)", meta_of(None).items())
            copy.execute("COMMIT")
            yield FileReader(copy, path)
    except sqlite3.DatabaseError as error:
        raise unreadable(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; raises `LedgerError` where there is no file."""
    if not path.is_file():
        raise LedgerError(
            f"expected a ledger file at {path}, found {'a folder' if path.is_dir() else 'nothing'}; name another"
        )
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
    except sqlite3.Error as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: sqlite3.Error) -> LedgerError:
    return LedgerError(f"{path} cannot be read as a ledger ({error}); restore it from a copy and verify that")
