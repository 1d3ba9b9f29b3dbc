"""Write-ahead logging for a new SQLite file, also when many processes open it at the same moment."""

from __future__ import annotations

import sqlite3
import time

PATIENCE = 30.0
PAUSE = 0.005


def write_ahead(db: sqlite3.Connection) -> None:
    """Switch the file to its write-ahead log; raises `sqlite3.OperationalError` after 30 s of others' locks.

    SQLite's own timeout does not hold for this switch: it fails at once while somebody else makes it.
    """
    given_up = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > given_up:
                raise
            time.sleep(PAUSE)
