"""The rows of one session with their payloads: out of a ledger, or out of a file beside a test."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from governance.errors import RecordIncomplete
from governance.plane.ledger import Ledger
from governance.plane.payloads import LIST, checked, restored
from governance.replay import values

VERSION = 1
READ = "SELECT n, ts, kind, path, actor, body FROM events WHERE session=? ORDER BY n"
PAYLOADS = "SELECT digest, kind, data FROM payloads WHERE session=?"
Change = Callable[[bytes], bytes]
NEEDED = '[ledger] payloads = "all"'


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the record."""

    n: int
    ts: int
    kind: str
    path: str
    actor: str
    body: Mapping[str, Any]

    @property
    def boundary(self) -> str:
        return self.kind.partition(".")[0]

    @property
    def word(self) -> str:
        return self.kind.partition(".")[2]


@dataclass(slots=True)
class Recording:
    """What a replay stands on; nothing of it is ever written back."""

    session: str
    rows: list[Row] = field(repr=False)
    payloads: dict[str, tuple[str, bytes]] = field(repr=False)
    _trees: dict[str, Any] = field(default_factory=dict, repr=False)

    def tree(self, row: Row, name: str) -> Any:
        """A payload of a row, as a tree to compare with."""
        return self._tree(self._digest(row, name))

    def value(self, row: Row, name: str, change: Change = lambda data: data) -> Any:
        """A payload of a row, as the value it was; `change` is made to its bytes before."""
        return self._value(self._digest(row, name), change)

    def _digest(self, row: Row, name: str) -> str:
        named = row.body.get(name)
        if not isinstance(named, Mapping) or named.get("sha256") not in self.payloads:
            raise RecordIncomplete(
                f"row {row.n} of {self.session} ({row.kind} {row.path}) has no {name} that is kept: a replay needs "
                f"{NEEDED} when the session runs, and nothing of it pruned or erased since",
                n=row.n,
            )
        return str(named["sha256"])

    def _tree(self, digest: str) -> Any:
        if digest not in self._trees:
            kind, data = self.payloads[digest]
            self._trees[digest] = values.stored(kind, data, self._tree)
        return self._trees[digest]

    def _value(self, digest: str, change: Change) -> Any:
        kind, data = self.payloads[digest]
        return restored(kind, data if kind == LIST else change(data), lambda item: self._value(item, change))

    def used(self) -> set[str]:
        """The digests of all payloads that a row names, items of lists included."""
        found: set[str] = set()
        wanted = [v["sha256"] for row in self.rows for v in row.body.values() if isinstance(v, dict) and "sha256" in v]
        while wanted:
            digest = wanted.pop()
            if digest in self.payloads and digest not in found:
                found.add(digest)
                kind, data = self.payloads[digest]
                wanted += orjson.loads(data) if kind == LIST else []
        return found


def from_ledger(ledger: Ledger, session: str) -> Recording:
    """The rows of a session as they stand now; raises `RecordIncomplete` where there are none."""
    with ledger.store().reader() as reader:
        rows = [
            Row(n, ts, kind, path, actor, orjson.loads(body))
            for n, ts, kind, path, actor, body in reader.rows(READ, session)
        ]
        salt = next((bytes(one[0]) for one in reader.rows("SELECT salt FROM salts WHERE session=?", session)), None)
        kept = {
            digest: (kind, checked(session, digest, salt, bytes(data), kind))
            for digest, kind, data in reader.rows(PAYLOADS, session)
        }
    if not rows:
        raise RecordIncomplete(f"the ledger {ledger.name} has no rows of session {session!r}")
    return Recording(session, rows, kept)


def from_file(path: Path) -> Recording:
    """What `to_file` wrote."""
    head, *lines = (orjson.loads(line) for line in path.read_bytes().splitlines() if line)
    if head.get("sidecar-replay") != VERSION:
        raise RecordIncomplete(f"{path} is no recording that this version reads; write it again with `sidecar replay`")
    rows = [Row(**one) for one in lines if "n" in one]
    kept = {one["digest"]: (one["kind"], _data(one)) for one in lines if "digest" in one}
    return Recording(head["session"], rows, kept)


def about(path: Path) -> dict[str, Any]:
    """What the first line of such a file says of it."""
    with path.open("rb") as file:
        return dict(orjson.loads(file.readline()))


def to_file(recording: Recording, path: Path, facts: Mapping[str, Any]) -> None:
    """Write everything a replay needs, one JSON object a line."""
    lines: list[Any] = [{"sidecar-replay": VERSION, "session": recording.session, **facts}]
    lines += [{name: getattr(row, name) for name in Row.__slots__} for row in recording.rows]
    used = recording.used()
    lines += [_line(digest, *kept) for digest, kept in recording.payloads.items() if digest in used]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def _line(digest: str, kind: str, data: bytes) -> dict[str, Any]:
    """Readable where it is JSON, so that a change of it can be read too."""
    with suppress(orjson.JSONDecodeError):
        if orjson.dumps(found := orjson.loads(data)) == data:
            return {"digest": digest, "kind": kind, "json": found}
    return {"digest": digest, "kind": kind, "base64": base64.b64encode(data).decode()}


def _data(line: Mapping[str, Any]) -> bytes:
    return orjson.dumps(line["json"]) if "json" in line else base64.b64decode(line["base64"])


__all__ = ["NEEDED", "Recording", "Row", "about", "from_file", "from_ledger", "to_file"]
