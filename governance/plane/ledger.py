"""The append-only record: every event in a hash chain per session, written by one thread per process.

`record` never blocks: it puts the event on a queue that a writer thread commits in groups. `flushed`
gives an acknowledgement that can be waited for where something must be durable first. When the disk
refuses, `broken` is set, and enforce mode runs nothing any more. When it is slow, `behind` says so before
memory is at risk, and enforce mode waits for `wait_room`; so it does while a server is away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from governance import canonical
from governance.errors import LedgerError
from governance.plane.anchors import Write
from governance.plane.disk import Watermark
from governance.plane.ledger_queue import Queue
from governance.plane.ledger_rows import Facts, Head
from governance.plane.ledger_store import Place, Store, is_server, store_of
from governance.plane.ledger_upkeep import Upkeep
from governance.plane.ledger_writer import Writer
from governance.plane.payloads import Kept, checked, restored, serialised
from governance.plane.redaction import Redaction
from governance.plane.spending import spent
from governance.plane.waiting import HEAVY

MIN_FREE = 200_000_000
PATIENCE = 10.0
ANCHOR_EVERY = 60.0
COMPANIONS = Path(".sidecar/ledger.db")
"""Where the control file and checkpoints of a ledger on a server stand."""


class Ledger(Queue):
    """One ledger, in a file or on a server, shared by every thread of this process and by other processes."""

    def __init__(
        self,
        place: Place,
        *,
        key: bytes | None = None,
        anchor: Write | None = None,
        anchor_every: float = ANCHOR_EVERY,
        redact: Sequence[str] = (),
        min_free: int = MIN_FREE,
        patience: float = PATIENCE,
    ) -> None:
        self.place = place
        self.path = COMPANIONS if is_server(place) else Path(place)
        self.key = key
        self.redaction = Redaction().also(redact)
        self._anchor, self._anchor_every = anchor, anchor_every
        self._min_free = min_free
        self._store = store_of(place, key)
        super().__init__(self._store.name, patience)

    def record(
        self,
        session: str,
        kind: str,
        *,
        path: str = "",
        actor: str = "",
        body: dict[str, Any] | None = None,
        tokens: int = 0,
        payloads: Mapping[str, Any] | None = None,
        digests: Mapping[str, str] | None = None,
    ) -> None:
        """Queue one event; it is durable once a `flushed` taken later is done.

        `payloads` are stored beside it and named in the body by a salted digest; of `digests` only the
        digest is recorded.
        """
        content: dict[str, Any] = body or {}
        if tokens:
            content = {**content, "tokens": tokens}
        # As text at once: what happens to the objects afterwards must not rewrite what happened.
        text = encoded(content)
        if self.redaction.rules:
            text = self.redaction.json(text)
        stored: str | Kept = text
        if payloads or digests or len(text) >= HEAVY:
            stored = self._kept(text, payloads or {}, digests or {})
            self.room.take(stored.size)
        self.queue.append((session, time.time_ns(), kind, path, actor, stored, spent(content)))
        if not self.awake:
            self.wake()

    def note(self, session: str, kind: str, path: str, actor: str, facts: Facts) -> None:
        """`record` for hot paths: the writer thread makes the body, so the facts must be values that never change."""
        self.queue.append((session, time.time_ns(), kind, path, actor, facts, 0))
        if not self.awake:
            self.wake()

    def redact_also(self, rules: Sequence[str]) -> None:
        """Take out, from now on, what these rules find too."""
        self.redaction = self.redaction.also(rules)

    def flush(self) -> None:
        """Wait until everything recorded so far is on disk."""
        self.flushed().result()

    async def aflush(self) -> None:
        await asyncio.wrap_future(self.flushed())

    def head(self, session: str) -> Head | None:
        """Where the session's chain stands on disk (blocking; flush first to include what is queued)."""
        return self._store.head(session)

    def payload(self, session: str, digest: str) -> Any:
        """A stored value by the digest an event names it by (blocking); raises `LedgerError` where it is gone."""
        with self._store.reader() as reader:
            salts = [bytes(salt) for (salt,) in reader.rows("SELECT salt FROM salts WHERE session=?", session)]

            def find(wanted: str) -> Any:
                query = "SELECT kind, data FROM payloads WHERE session=? AND digest=?"
                for kind, data in reader.rows(query, session, wanted):
                    whole = checked(session, wanted, salts[0] if salts else None, bytes(data), kind)
                    return restored(kind, whole, find)
                raise LedgerError(f"the payload {wanted[:12]} of {session} is not stored: erased, pruned or archived")

            return find(digest)

    def store(self) -> Store:
        """Another connection to the same ledger, to read it or to keep house in it."""
        return store_of(self.place, self.key)

    def write_down(self) -> None:
        store = self.store()
        mark = Watermark(self.name, self._min_free, store.free)
        Writer(self, store, Upkeep(mark, self._anchor, self._anchor_every)).run()

    def _kept(self, text: str, payloads: Mapping[str, Any], digests: Mapping[str, str]) -> Kept:
        values = {name: serialised(value, self.redaction) for name, value in payloads.items()}
        return Kept(text, values, dict(digests), len(text) + sum(value.size for value in values.values()))


def encoded(value: Any) -> str:
    """The stored text of a body or a part of it; a value whose own code fails is named, and the record goes on."""
    try:
        return canonical.text(value)
    except Exception as error:
        tokens = {"tokens": spent(value)} if isinstance(value, dict) else {}
        return canonical.text({"unrecordable": type(error).__name__, **tokens})


__all__ = ["Ledger", "encoded"]
