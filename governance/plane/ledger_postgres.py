"""The ledger on a server of PostgreSQL: the same rows, one transaction a group, one appender at a time."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from governance.errors import ConfigurationError, LedgerError
from governance.plane import ledger_schema as schema
from governance.plane.ledger_rows import (
    COLUMNS,
    NO_HEAD,
    Batch,
    Event,
    Group,
    Head,
    chain,
    check_key,
    digest_with,
    meta_of,
    stored_name,
)
from governance.plane.ledger_store import Change, Reader

if TYPE_CHECKING:
    import psycopg

LOCK = "SELECT pg_advisory_xact_lock(1399153763, hashtext(current_schema()))"
"""Held until the transaction ends: whoever appends next finds the heads that this one leaves."""
EVENTS = f"COPY events({','.join(COLUMNS)}) FROM STDIN"
HEADS = (
    "INSERT INTO heads(session,n,hash,tokens) SELECT * FROM unnest(%s::text[],%s::bigint[],%s::text[],%s::bigint[]) "
    "ON CONFLICT(session) DO UPDATE SET n=excluded.n, hash=excluded.hash, tokens=excluded.tokens"
)
PAYLOADS = (
    "INSERT INTO payloads(session,digest,kind,data,stored) VALUES(%s,%s,%s,%s,%s) "
    "ON CONFLICT(session,digest) DO UPDATE SET stored=greatest(payloads.stored,excluded.stored)"
)
LAST = "SELECT g, ts, events, sum, prev, hash FROM groups ORDER BY g DESC LIMIT 1"
MISSING = "a ledger on PostgreSQL needs psycopg; pip install 'langgraph-sidecar[postgres]'"


class PostgresStore:
    """One connection to a ledger on a server, for the one thread that writes; opened when it is first needed."""

    def __init__(self, url: str, key: bytes | None = None) -> None:
        self.url = url
        self.name = re.sub(r"//[^@/]*@", "//", url.partition("?")[0])
        self._key = key
        self._digest = digest_with(key)
        self._db: psycopg.Connection[Any] | None = None
        self._batch: Batch | None = None

    def append(self, events: list[Event], *, durable: bool) -> Group | None:
        psycopg = _psycopg()
        try:
            return self._append(events, durable=durable)
        except psycopg.OperationalError:  # the server went away; it may have committed before it did
            self.close()
            if self._is_committed():
                return self._batch.group if self._batch else None
            return self._append(events, durable=durable)

    def head(self, session: str) -> Head | None:
        with self._look() as db:
            if db.execute("SELECT to_regclass('heads')").fetchone() == (None,):
                return None
            row = db.execute("SELECT n, hash, tokens FROM heads WHERE session=%s", (_clean(session),)).fetchone()
        return Head(*row) if row else None

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        with self._look() as db:
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            names = "SELECT tablename FROM pg_tables WHERE schemaname=current_schema() AND tablename=ANY(%s)"
            found = {name for (name,) in db.execute(names, (list(schema.NAMES),))}
            if missing := sorted(set(schema.NAMES) - found):
                raise LedgerError(f"{self.name} holds no ledger: it has no table {', '.join(missing)}")
            yield PostgresReader(db)

    def change(self, work: Callable[[Change], None]) -> None:
        db = self._db or self._open()
        with db.transaction():
            db.execute(LOCK)
            db.execute("SET LOCAL synchronous_commit=on")
            work(_ServerChange(self, db))
        db.execute("VACUUM payloads")  # rows that are deleted stay in the table until somebody sweeps
        db.execute("VACUUM salts")

    def free(self) -> int | None:
        """A server looks after its own disk."""
        return None

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _append(self, events: list[Event], *, durable: bool) -> Group | None:
        db = self._db or self._open()
        self._batch = None
        with db.transaction():
            db.execute(f"SET LOCAL synchronous_commit={'on' if durable else 'off'}")
            if not events:
                # A commit that is waited for takes all that were not along.
                if durable:
                    db.execute("UPDATE meta SET value=value WHERE name='version'")
                row = db.execute(LAST).fetchone()
                return Group(*row) if row else None
            db.execute(LOCK)
            return self._write(db, events)

    def _write(self, db: psycopg.Connection[Any], events: list[Event]) -> Group:
        cleaned: list[Event] = [(_clean(e[0]), e[1], e[2], _clean(e[3]), _clean(e[4]), e[5], e[6]) for e in events]
        row = db.execute(LAST).fetchone()
        last = Group(*row) if row else None
        known = self._heads(db, list({event[0] for event in cleaned}))
        batch = self._batch = chain(
            cleaned, last.g + 1 if last else 1, last.hash if last else "", time.time_ns(),
            head=lambda session: known.get(session, NO_HEAD), salt=lambda session: self._salt(db, session),
            digest=self._digest,
        )  # fmt: skip
        width = len(COLUMNS)
        with db.cursor() as cursor:
            with cursor.copy(EVENTS) as copy:
                for start in range(0, len(batch.rows), width):
                    copy.write_row(batch.rows[start : start + width])
            heads = [(session, *head) for session, head in batch.heads.items()]
            cursor.execute(HEADS, [list(column) for column in zip(*heads, strict=True)])
            cursor.execute("INSERT INTO groups VALUES(%s,%s,%s,%s,%s,%s)", batch.group)
            if batch.payloads:
                cursor.executemany(PAYLOADS, batch.payloads)
        return batch.group

    def _heads(self, db: psycopg.Connection[Any], sessions: list[str]) -> dict[str, Head]:
        found = db.execute("SELECT session, n, hash, tokens FROM heads WHERE session=ANY(%s)", (sessions,))
        return {session: Head(*head) for session, *head in found}

    def _salt(self, db: psycopg.Connection[Any], session: str) -> bytes:
        made = "INSERT INTO salts VALUES(%s,%s) ON CONFLICT DO NOTHING"
        db.execute(made, (session, secrets.token_bytes(16)))
        row = db.execute("SELECT salt FROM salts WHERE session=%s", (session,)).fetchone()
        assert row is not None
        return bytes(row[0])

    def _is_committed(self) -> bool:
        """Whether the group that a lost connection was to commit is there all the same."""
        if self._batch is None:
            return False
        group = self._batch.group
        with self._look() as db:
            return db.execute("SELECT hash FROM groups WHERE g=%s", (group.g,)).fetchone() == (group.hash,)

    def _open(self) -> psycopg.Connection[Any]:
        db: psycopg.Connection[Any]
        db = self._db = _psycopg().connect(self.url, autocommit=True, application_name="sidecar")
        with db.transaction():
            db.execute(LOCK)
            if db.execute("SELECT to_regclass('meta')").fetchone() == (None,):
                for table in schema.create_postgres():
                    db.execute(table)
                meta = {"version": str(schema.VERSION), **meta_of(self._key)}
                db.cursor().executemany("INSERT INTO meta VALUES(%s,%s)", list(meta.items()))
            meta = dict(db.execute("SELECT name, value FROM meta").fetchall())
        if meta.get("version") != str(schema.VERSION):
            raise LedgerError(f"{self.name} has schema version {meta.get('version')}, this Sidecar {schema.VERSION}")
        check_key(f"the ledger {self.name}", meta, self._key)
        return db

    @contextmanager
    def _look(self) -> Iterator[psycopg.Connection[Any]]:
        psycopg = _psycopg()
        try:
            with psycopg.connect(self.url, application_name="sidecar") as db:
                yield db
        except psycopg.Error as error:
            raise LedgerError(f"the ledger {self.name} cannot be read ({_line(error)})") from error


class PostgresReader:
    """One read transaction on a server."""

    def __init__(self, db: psycopg.Connection[Any]) -> None:
        self._db = db
        self._number = 0

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        self._number += 1
        with self._db.cursor(f"rows{self._number}") as cursor:  # on the server, so that rows are streamed
            cursor.itersize = 2000
            cursor.execute(_theirs(query), values)
            yield from cursor

    def meta(self) -> dict[str, str]:
        return dict(self.rows("SELECT name, value FROM meta"))

    def damages(self) -> Iterator[str]:
        stated = self.meta().get("version")
        if stated != str(schema.VERSION):
            yield f"the schema is version {stated}, this Sidecar writes version {schema.VERSION}"
        ours = "SELECT tablename FROM pg_tables WHERE schemaname=current_schema() AND tablename=ANY(?)"
        tables = [name for (name,) in self.rows(ours, list(schema.NAMES))]
        keyed = "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype='p' AND connamespace=current_schema()::regnamespace"  # noqa: E501
        keys = {name for (name,) in self.rows(keyed)}
        for name in sorted(set(tables) - keys):
            yield f"the table {name!r} has lost its key"
        triggers = "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal"
        for table, name in self.rows(triggers):
            if table in schema.NAMES:
                yield f"there is a trigger {name!r} on {table!r} that no ledger has"


class _ServerChange:
    """A transaction of `PostgresStore.change`."""

    def __init__(self, store: PostgresStore, db: psycopg.Connection[Any]) -> None:
        self._store = store
        self._db = db

    def execute(self, query: str, *values: Any) -> int:
        return self._db.execute(_theirs(query), values).rowcount

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        yield from self._db.execute(_theirs(query), values)

    def append(self, events: list[Event]) -> None:
        self._store._write(self._db, events)


def _theirs(query: str) -> Any:
    return query.replace("%", "%%").replace("?", "%s")


def _clean(name: str) -> str:
    """Names without what PostgreSQL's text cannot hold."""
    return stored_name(name if "\x00" not in name else name.replace("\x00", "\\x00"))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise ConfigurationError(MISSING) from None
    return psycopg
