"""Many rows into a table of SQLite by few large statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from typing import Any

from governance.plane.ledger_rows import COLUMNS

Statement = tuple[str, int, str]
EVENT: Statement = (f"INSERT INTO events({','.join(COLUMNS)}) VALUES", len(COLUMNS), "")
HEAD: Statement = (
    "INSERT INTO heads(session,n,hash,tokens) VALUES",
    4,
    "ON CONFLICT(session) DO UPDATE SET n=excluded.n, hash=excluded.hash, tokens=excluded.tokens",
)
GROUP = 512
"""Rows one statement writes at most: SQLite gives up the interpreter's lock at each, and taking it back
from a busy event loop costs more than the row."""


def insert_all(db: sqlite3.Connection, statement: Statement, values: list[Any]) -> None:
    """Insert the rows that the values are the columns of, in a few large statements."""
    columns, start = statement[1], 0
    for rows in _parts(len(values) // columns):
        end = start + rows * columns
        db.execute(_insert(statement, rows), values[start:end])
        start = end


@cache
def _insert(statement: Statement, rows: int) -> str:
    into, columns, otherwise = statement
    row = f"({','.join('?' * columns)})"
    return f"{into} {','.join([row] * rows)} {otherwise}"


def _parts(rows: int) -> Iterator[int]:
    """Sizes of the statements that insert so many rows: few sizes, since a new one costs 100 rows to prepare."""
    size = GROUP
    while rows:
        while size > rows:
            size //= 2
        yield size
        rows -= size
