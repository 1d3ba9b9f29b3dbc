"""Inventory: stock in a SQLite file behind a bounded pool of connections."""

from __future__ import annotations

import queue
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .service import Application, Body, Refused, ServiceSpec
from .telemetry import Telemetry

RELEASES = ("2.0.0",)
# storage_ms stands for the round trip to a network disk; a connection is held while it lasts.
CONFIG = {"pool_size": 8, "pool_timeout_ms": 80, "storage_ms": 20}
SKUS = ("tea", "cup", "pot")


class ConnectionPool:
    """A fixed number of connections; a request that gets none in time is refused."""

    def __init__(self, path: Path, *, size: int, timeout_ms: int, telemetry: Telemetry) -> None:
        self._free: queue.Queue[sqlite3.Connection] = queue.Queue()
        self._size = size
        self._timeout_ms = timeout_ms
        self._telemetry = telemetry
        for _ in range(size):
            self._free.put(_connect(path))
        telemetry.metrics.add("pool_size", size)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        with self._telemetry.span("pool.acquire"):
            held = self._acquire()
        try:
            yield held
        finally:
            self._telemetry.metrics.add("pool_in_use", -1)
            self._free.put(held)

    def _acquire(self) -> sqlite3.Connection:
        started = time.perf_counter()
        try:
            held = self._free.get(timeout=self._timeout_ms / 1000)
        except queue.Empty:
            self._telemetry.metrics.add("pool_timeouts_total")
            reason = f"no connection within {self._timeout_ms} ms, all {self._size} of the pool in use"
            raise Refused(503, reason) from None
        finally:
            self._telemetry.metrics.observe("pool_wait_ms", (time.perf_counter() - started) * 1000)
        self._telemetry.metrics.add("pool_in_use")
        return held


def build(spec: ServiceSpec, telemetry: Telemetry) -> Application:
    """Build inventory on the SQLite file in the run directory."""
    path = spec.directory / "inventory.sqlite"
    _create(path)
    pool = ConnectionPool(
        path, size=spec.number("pool_size"), timeout_ms=spec.number("pool_timeout_ms"), telemetry=telemetry
    )
    storage = spec.number("storage_ms") / 1000

    def reserve(body: Body) -> Body:
        with pool.connection() as connection, telemetry.span("sqlite.reserve"):
            time.sleep(storage)
            return {"reservation": _reserve(connection, body)}

    return Application(path="/reservations", handle=reserve, healthy=path.exists)


def _reserve(connection: sqlite3.Connection, body: Body) -> int:
    """Take the stock in one transaction; a probe goes the same way and leaves nothing behind."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        taken = connection.execute(
            "UPDATE stock SET quantity = quantity - :quantity WHERE sku = :sku AND quantity >= :quantity",
            body,
        )
        if taken.rowcount == 0:
            raise Refused(409, f"not enough stock of {body['sku']}")
        row = connection.execute("INSERT INTO reservations (sku, quantity) VALUES (:sku, :quantity)", body)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("ROLLBACK" if body.get("probe") else "COMMIT")
    return int(row.lastrowid or 0)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)


def _create(path: Path) -> None:
    connection = _connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, quantity INTEGER NOT NULL)")
    connection.execute("CREATE TABLE IF NOT EXISTS reservations (id INTEGER PRIMARY KEY, sku TEXT, quantity INTEGER)")
    connection.executemany("INSERT OR IGNORE INTO stock VALUES (?, 1000000)", [(sku,) for sku in SKUS])
    connection.close()
