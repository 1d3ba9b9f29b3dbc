"""The shop's tables, the file they live in and the connections that reach them."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlite_utils import Database

from tools.shop_errors import NotAShop
from tools.shop_seed import Rows, seed_rows

SHOP_MARK = 0x53484F50
BUSY_SECONDS = 30.0

TABLES: dict[str, dict[str, type]] = {
    "settings": {"name": str, "value": str},
    "customers": {"id": int, "name": str, "email": str, "postcode": str, "city": str},
    "products": {"sku": str, "name": str, "price_cents": int, "stock": int},
    "orders": {
        "id": int,
        "customer_id": int,
        "status": str,
        "ordered_on": str,
        "paid_cents": int,
        "status_before": str,
        "cancelled_on": str,
        "cancel_reason": str,
    },
    "order_lines": {"order_id": int, "sku": str, "quantity": int, "unit_cents": int},
    "shipments": {"order_id": int, "shipped_on": str, "settled_on": str},
    "refunds": {"key": str, "order_id": int, "amount_cents": int, "reason": str, "refunded_on": str},
    "events": {"id": int, "order_id": int, "kind": str, "happened_on": str, "detail": str},
}
KEYS: dict[str, str | tuple[str, str]] = {
    "settings": "name",
    "products": "sku",
    "order_lines": ("order_id", "sku"),
    "shipments": "order_id",
    "refunds": "key",
}
PARENTS = {
    "orders": [("customer_id", "customers", "id")],
    "order_lines": [("order_id", "orders", "id"), ("sku", "products", "sku")],
    "shipments": [("order_id", "orders", "id")],
    "refunds": [("order_id", "orders", "id")],
    "events": [("order_id", "orders", "id")],
}
NULLABLE = {"status_before", "cancelled_on", "cancel_reason", "settled_on"}

# The last line of defence: whatever code writes to the file, no order is paid back twice over.
WITHIN_PAID = """
CREATE TRIGGER refunds_within_paid BEFORE INSERT ON refunds
WHEN NEW.amount_cents < 1 OR NEW.amount_cents > (SELECT paid_cents FROM orders WHERE id = NEW.order_id)
    - (SELECT COALESCE(SUM(amount_cents), 0) FROM refunds WHERE order_id = NEW.order_id)
BEGIN SELECT RAISE(ABORT, 'a refund is at most what was paid less what was refunded'); END
"""
APPEND_ONLY = """
CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} are never changed'); END
"""


def prepare(path: Path) -> None:
    """Make the shop at `path` unless there is one; it appears whole or not at all, and once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".shop-") as folder:
            draft = Path(folder) / "draft.db"
            _build(draft, seed_rows())
            with suppress(FileExistsError):
                os.link(draft, path)
    _check(path)


@contextmanager
def reading(path: Path) -> Iterator[Database]:
    """One consistent view of the shop, closed afterwards."""
    with closing(_connect(path)) as connection:
        connection.execute("BEGIN")
        yield Database(connection)


@contextmanager
def writing(path: Path) -> Iterator[Database]:
    """The only writer of the shop until the block ends; an error leaves nothing behind."""
    with closing(_connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield Database(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: a shop that was deleted is an error, never a new and empty file.
    address = f"file:{quote(str(path.absolute()))}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _check(path: Path) -> None:
    try:
        with closing(_connect(path)) as connection:
            mark = connection.execute("PRAGMA application_id").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and path.is_file():
            raise
        mark = 0
    if mark != SHOP_MARK:
        raise NotAShop("a shop lives in a file of its own", came=f"{path} is no shop", possible="name another path")


def _build(path: Path, rows: Rows) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {SHOP_MARK}")
        database = Database(connection)
        with database.atomic():
            _create_tables(database)
            for table, filling in rows.items():
                database.table(table).insert_all(filling)
            database.execute(WITHIN_PAID)
            for table in ("refunds", "events"):
                for verb in ("UPDATE", "DELETE"):
                    database.execute(APPEND_ONLY.format(table=table, verb=verb))


def _create_tables(database: Database) -> None:
    for name, columns in TABLES.items():
        database.table(name).create(
            columns,
            pk=KEYS.get(name, "id"),
            foreign_keys=PARENTS.get(name, ()),
            not_null=set(columns) - NULLABLE,
            strict=True,
        )
    database.table("customers").create_index(["email"], unique=True)
    database.table("orders").create_index(["customer_id"])
    database.table("refunds").create_index(["order_id"])
    database.table("events").create_index(["order_id"])
