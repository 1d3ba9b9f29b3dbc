"""A ledger to tamper with, and what the verifier says of it then."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from governance.plane.ledger import Ledger
from governance.plane.verify import verify


def two_sessions(path: Path) -> Path:
    """A ledger with sessions a and b of five rows each."""
    written = Ledger(path)
    for number in range(5):
        for session in ("a", "b"):
            written.record(session, "model.ended", path=f"say#{number}", actor="say", body={"i": number}, tokens=number)
    written.flush()
    written.close()
    return written.path


def tamper(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def problems(path: Path, **known: tuple[int, str]) -> list[str]:
    return [str(problem) for problem in verify(path, heads=known).problems]
