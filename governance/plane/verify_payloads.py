"""Payloads against the digests that the record names them by; missing ones need an erasure on record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from governance.plane.ledger_store import Reader
from governance.plane.payloads import LIST, digest_of

Report = Callable[[str, int, str], None]
STORED = "SELECT digest, kind, data FROM payloads WHERE session=?"
SALT = "SELECT salt FROM salts WHERE session=?"


class References:
    """The payloads that the rows of one session name, each with the row that named it last."""

    def __init__(self, pruned: int) -> None:
        self._pruned = pruned
        self.named: dict[str, int] = {}
        self.needed: set[str] = set()
        """Those of rows that nobody has erased or pruned."""
        self.erased = False

    def see(self, n: int, ts: int, kind: str, body: str) -> None:
        if kind == "ledger.erased":
            self.needed.clear()
            self.erased = True
            return
        for value in orjson.loads(body).values():
            if isinstance(value, dict) and value.keys() == {"sha256", "bytes"}:
                self.named[value["sha256"]] = n
                if ts >= self._pruned:
                    self.needed.add(value["sha256"])


def check_payloads(reader: Reader, session: str, rows: References, report: Report) -> None:
    """What is stored is what was named, and what was named is stored unless it was erased."""
    salt = next((bytes(found) for (found,) in reader.rows(SALT, session)), None)
    lists: list[tuple[str, list[Any]]] = []
    stored: set[str] = set()
    for digest, kind, data in reader.rows(STORED, session):
        if (
            salt is None
            or not isinstance(data, (bytes, memoryview))
            or digest_of(salt, bytes(data), str(kind)) != digest
        ):
            report(session, rows.named.get(digest, 0), f"the payload {digest:.12} was changed after it was written")
            continue
        stored.add(digest)
        if kind == LIST:
            lists.append((digest, orjson.loads(bytes(data))))
    parts = {part for _, items in lists for part in items}
    for digest in sorted(stored - rows.named.keys() - parts):
        report(session, 0, f"there is a payload {digest:.12} that no row names")
    needed = rows.needed | {part for digest, items in lists if digest in rows.needed for part in items}
    for digest in sorted(needed - stored):
        report(session, rows.named.get(digest, 0), f"the payload {digest:.12} is gone, and no erasure is on record")


def check_strangers(reader: Reader, sessions: Mapping[str, Any], report: Report) -> None:
    """Payloads and salts of sessions that have no rows."""
    for table in ("payloads", "salts"):
        for (session,) in reader.rows(f"SELECT DISTINCT session FROM {table}"):
            if session not in sessions:
                report(session, 0, f"has {table} and no rows")
