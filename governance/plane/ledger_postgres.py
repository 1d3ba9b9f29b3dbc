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
from governance.plane.ledger_postgres_reader import PostgresReader, in_their_words
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
from governance.plane.ledger_store import AWAY, Change, Reader

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
LOST = 30
"""Seconds after which a server that does not answer is taken to be away, and the server gives up one of us."""
MISSING = "a ledger on PostgreSQL needs psycopg; pip install 'langgraph-sidecar[postgres]'"


class PostgresStore:
    """One connection to a ledger on a server, for the one thread that writes; opened when it is first needed."""

    def __init__(self, url: str, key: bytes | None = None) -> None:
        self.url = url
        self.name = re.sub(r"//[^@/]*@", "//", url.partition("?")[0])
        self._key = key
        self._digest = digest_with(key)
        self._db: psycopg.Connection[Any] | None = None
        self._unsure: Batch | None = None
        """What was to be committed when the connection was lost: it may have been."""

    def append(self, events: list[Event], *, durable: bool) -> Group | None:
        with self._connected() as db, db.transaction():
            db.execute(f"SET LOCAL synchronous_commit={'on' if durable else 'off'}")
            if events:
                group: Group | None = self._append(db, events)
            else:
                group = self._nothing(db, durable=durable)
        self._unsure = None
        return group

    def head(self, session: str) -> Head | None:
        with self._look() as db:
            if db.execute("SELECT to_regclass('heads')").fetchone() == (None,):
                return None
            row = db.execute("SELECT n, hash, tokens FROM heads WHERE session=%s", (_clean(session),)).fetchone()
        return Head(*row) if row else None

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        with self._look() as db:
            yield PostgresReader(db, self.name)

    def change(self, work: Callable[[Change], None]) -> None:
        with self._connected() as db:
            with db.transaction():
                db.execute(LOCK)
                db.execute("SET LOCAL synchronous_commit=on")
                db.execute("SET LOCAL idle_in_transaction_session_timeout=0")  # an archive is written meanwhile
                work(_ServerChange(self, db))
            db.execute("VACUUM payloads")  # rows that are deleted stay in the table until somebody sweeps
            db.execute("VACUUM salts")

    def free(self) -> int | None:
        """A server looks after its own disk."""
        return None

    def close(self) -> None:
        self._unsure = None
        self._hang_up()

    def _hang_up(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection of this store; where it is lost, the next use opens another."""
        psycopg = _psycopg()
        try:
            yield self._db or self._open()
        except psycopg.Error as error:
            lost = self._db is None or self._db.broken or isinstance(error, psycopg.OperationalError)
            self._hang_up()
            if not lost:
                raise
            text = f"the ledger {self.name} cannot be reached ({_line(error)}); runs go on once its server is back"
            raise LedgerError(text, code=AWAY) from error

    def _append(self, db: psycopg.Connection[Any], events: list[Event]) -> Group:
        # What a lost connection has yet to commit holds the lock: after it, that is there, or never will be.
        db.execute(LOCK)
        if self._unsure is not None:
            group = self._unsure.group
            if db.execute("SELECT hash FROM groups WHERE g=%s", (group.g,)).fetchone() == (group.hash,):
                return group
        return self._write(db, events)

    def _nothing(self, db: psycopg.Connection[Any], *, durable: bool) -> Group | None:
        """A commit that is waited for takes all that were not along."""
        if durable:
            db.execute("UPDATE meta SET value=value WHERE name='version'")
        row = db.execute(LAST).fetchone()
        return Group(*row) if row else None

    def _write(self, db: psycopg.Connection[Any], events: list[Event]) -> Group:
        cleaned: list[Event] = [(_clean(e[0]), e[1], e[2], _clean(e[3]), _clean(e[4]), e[5], e[6]) for e in events]
        row = db.execute(LAST).fetchone()
        last = Group(*row) if row else None
        known = self._heads(db, list({event[0] for event in cleaned}))
        batch = self._unsure = chain(
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

    def _open(self) -> psycopg.Connection[Any]:
        db: psycopg.Connection[Any]
        db = self._db = _psycopg().connect(patient(self.url), autocommit=True)
        db.execute(f"SET idle_in_transaction_session_timeout='{LOST}s'")
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
            with psycopg.connect(patient(self.url)) as db:
                yield db
        except psycopg.Error as error:
            raise LedgerError(f"the ledger {self.name} cannot be read ({_line(error)})") from error


class _ServerChange:
    """A transaction of `PostgresStore.change`."""

    def __init__(self, store: PostgresStore, db: psycopg.Connection[Any]) -> None:
        self._store = store
        self._db = db

    def execute(self, query: str, *values: Any) -> int:
        return self._db.execute(in_their_words(query), values).rowcount

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        yield from self._db.execute(in_their_words(query), values)

    def append(self, events: list[Event]) -> None:
        self._store._write(self._db, events)


def patient(url: str) -> str:
    """The URL with limits on how long a lost connection is waited for, where it sets none itself."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    limits = {"connect_timeout": LOST // 3, "tcp_user_timeout": LOST * 1000, "application_name": "sidecar"}
    named: dict[str, Any] = {**limits, **conninfo_to_dict(url)}
    return make_conninfo(**named)


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
