"""What was said and done, beside the record of it: stored by digest, redacted before, erasable after.

An event names a payload by its digest: SHA-256 over a random salt of the session, the kind, `:` and the bytes.
Once payload and salt are erased, the digest tells nothing, not even to somebody who guesses what it was.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from governance import canonical
from governance.errors import LedgerError
from governance.plane.redaction import Redaction

JSON, TYPED, SHOWN, LIST = "json", "msgpack", "shown", "list"
"""Canonical JSON of a plain value; LangGraph's own encoding; what is left of a value that neither can hold;
and the digests of a list's items, so that what two prompts have in common is stored once."""
BIGGEST = 2**53

Salt = Callable[[str], bytes]
Stored = tuple[str, str, str, bytes, int]
"""session, digest, kind, data, nanoseconds since 1970."""

_serde = JsonPlusSerializer()


@dataclass(frozen=True, slots=True)
class Value:
    """One serialised value; a list has its items instead of data."""

    kind: str
    data: bytes
    items: tuple[Value, ...] = ()

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items) if self.kind == LIST else len(self.data)


@dataclass(frozen=True, slots=True)
class Kept:
    """The body of an event with the payloads it names; `size` is what it takes up while it waits."""

    content: str
    """Canonical JSON of an object."""
    values: Mapping[str, Value]
    digested: Mapping[str, str]
    """Texts of which only the digest is recorded."""
    size: int

    def sealed(self, session: str, ts: int, salt: Salt, into: list[Stored]) -> str:
        """The stored text of the body; the payloads it names are added to `into`."""
        if not self.values and not self.digested:
            return self.content
        named = {name: self._named(value, session, ts, salt, into) for name, value in self.values.items()}
        told = {name: digest_of(salt(session), text.encode()) for name, text in self.digested.items()}
        return canonical.text({**orjson.loads(self.content), **named, **told})

    def _named(self, value: Value, session: str, ts: int, salt: Salt, into: list[Stored]) -> dict[str, Any]:
        return {"sha256": _keep(value, session, ts, salt, into), "bytes": value.size}


def _keep(value: Value, session: str, ts: int, salt: Salt, into: list[Stored]) -> str:
    data = value.data
    if value.kind == LIST:
        data = orjson.dumps([_keep(item, session, ts, salt, into) for item in value.items])
    digest = digest_of(salt(session), data, value.kind)
    into.append((session, digest, value.kind, data, ts))
    return digest


def digest_of(salt: bytes, data: bytes, kind: str = "") -> str:
    """The digest an event names a payload, or a word that is not stored, by."""
    return hashlib.sha256(b"%s%s:%s" % (salt, kind.encode(), data)).hexdigest()


def serialised(value: Any, redact: Redaction) -> Value:
    """A value as bytes, now: what happens to it afterwards must not rewrite what happened."""
    if isinstance(value, Value):
        return value  # it was put into bytes before
    if type(value) is list and value and not _is_plain(value, 0):
        return Value(LIST, b"", tuple(_one(item, redact) for item in value))
    return _one(value, redact)


def _one(value: Any, redact: Redaction) -> Value:
    if _is_plain(value, 0):
        return Value(JSON, canonical.encode(redact.plain(value)))
    try:
        kind, data = _serde.dumps_typed(value)
        return Value(kind, redact.packed(data) if kind == TYPED else data)
    except Exception:  # a value of the user's that LangGraph could not checkpoint either
        return Value(SHOWN, canonical.encode(redact.plain(_shown(value))))


def _shown(value: Any) -> Any:
    try:
        return orjson.loads(canonical.encode(value))
    except Exception as error:
        return {"unrecordable": type(error).__name__}


def _is_plain(value: Any, depth: int) -> bool:
    """Whether JSON holds exactly this value and gives it back."""
    kind = type(value)
    if kind is str:
        return _is_text(value)
    if value is None or kind is bool:
        return True
    if kind is int:
        return bool(-BIGGEST <= value <= BIGGEST)
    if kind is float:
        return math.isfinite(value)
    if depth > 40:
        return False
    if kind is list:
        return all(_is_plain(item, depth + 1) for item in value)
    return kind is dict and all(type(k) is str and _is_plain(v, depth + 1) for k, v in value.items())


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def restored(kind: str, data: bytes, item: Callable[[str], Any]) -> Any:
    """The value behind stored bytes; `item` finds the items of a list by digest."""
    if kind == LIST:
        return [item(digest) for digest in orjson.loads(data)]
    if kind in (JSON, SHOWN):
        return orjson.loads(data)
    return _serde.loads_typed((kind, data))


def checked(session: str, digest: str, salt: bytes | None, data: bytes, kind: str) -> bytes:
    """The data, where it is what the digest says; bytes that somebody put there are not even decoded."""
    if salt is None or digest_of(salt, data, kind) != digest:
        raise LedgerError(f"the payload {digest[:12]} of {session} was changed; run `sidecar ledger verify`")
    return data
