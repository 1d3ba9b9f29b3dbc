"""How events become rows: a hash chain per session, and one chain over all groups of rows.

The hash of an event covers every stored field: SHA-256 over the canonical JSON array
`[prev, session, n, g, ts, kind, path, actor, body]`, where `prev` is the hash of the session's event before
(empty for the first), `g` the group it was committed in and `body` the stored text. A group is one commit;
its hash covers `[prev, g, ts, events, sum]`, where `sum` adds up the hashes of its rows, so that a session
that is gone, a tail that is cut and a second chain show. With a key both are HMAC-SHA-256 instead.
Written once for every store: a store finds the heads and writes what `chain` returns.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from governance import canonical
from governance.errors import LedgerError
from governance.plane.payloads import Kept, Stored

OPERATOR = "operator"
"""The session that holds what operators do to all sessions."""
SYSTEM = "sidecar"
"""The session that holds what Sidecar itself has to say: a disk that fills up, events that were dropped."""

COLUMNS = ("session", "n", "g", "ts", "kind", "path", "actor", "body", "prev", "hash")
Facts = tuple[Any, ...]
"""A function that makes the text of a body, and what it makes it of: values that nobody can change any more."""
Event = tuple[str, int, str, str, str, str | Facts | Kept, int]
"""session, nanoseconds since 1970, kind, path, actor, body, tokens; a plain tuple, as there are many."""
Digest = Callable[[bytes], bytes]
MODULUS = 1 << 256
BEFORE_GROUPS = 0
"""The group of the rows that version 1 wrote; their hashes leave `g` out."""


class Head(NamedTuple):
    """Where a session's chain ends, with the tokens it has spent."""

    n: int
    hash: str
    tokens: int


class Group(NamedTuple):
    """One commit: how many rows, the sum of their hashes, and what it follows."""

    g: int
    ts: int
    events: int
    sum: str
    prev: str
    hash: str


NO_HEAD = Head(0, "", 0)


@dataclass(slots=True)
class Batch:
    """What one commit writes; `rows` holds the columns of all rows one after the other."""

    rows: list[Any]
    heads: dict[str, Head]
    group: Group
    payloads: list[Stored] = field(default_factory=list)


def digest_with(key: bytes | None) -> Digest:
    """The hash function of a ledger: SHA-256, or HMAC-SHA-256 where it has a key."""
    if key is None:
        return lambda data: hashlib.sha256(data).digest()
    secret = key
    return lambda data: hmac.digest(secret, data, "sha256")


UNKEYED = digest_with(None)


def key_check(key: bytes) -> str:
    """What a ledger keeps of its key: enough to tell a wrong one, too little to find it."""
    return hmac.digest(key, b"sidecar ledger", "sha256").hex()[:32]


def check_key(name: str, meta: dict[str, str], key: bytes | None) -> None:
    """Raise where a ledger was written with another key, with one, or with none."""
    keyed = meta.get("hash") == "hmac-sha256"
    if keyed and key is None:
        raise LedgerError(
            f"{name} is sealed with a key; give it by SIDECAR_LEDGER_KEY or [ledger] key_file", code="ledger-key"
        )
    if not keyed and key is not None:
        raise LedgerError(
            f"{name} was begun without a key, and one was given; leave the key out or begin another ledger",
            code="ledger-key",
        )
    if key is not None and not hmac.compare_digest(meta.get("key", ""), key_check(key)):
        raise LedgerError(f"{name} is sealed with another key than the one given", code="ledger-key")


def meta_of(key: bytes | None) -> dict[str, str]:
    """What a new ledger says about its hashes."""
    return {"hash": "sha256"} if key is None else {"hash": "hmac-sha256", "key": key_check(key)}


def event_hash(
    prev: str,
    session: str,
    n: int,
    g: int,
    ts: int,
    kind: str,
    path: str,
    actor: str,
    body: str,
    digest: Digest = UNKEYED,
) -> str:
    """The hash of one stored event, as the module describes it."""
    where = (prev, session, n, g) if g != BEFORE_GROUPS else (prev, session, n)
    return digest(canonical.encode((*where, ts, kind, path, actor, body))).hex()


def group_hash(prev: str, g: int, ts: int, events: int, total: str, digest: Digest) -> str:
    """The hash of one group, as the module describes it."""
    return digest(canonical.encode((prev, g, ts, events, total))).hex()


def hash_sum(hashes: Iterable[str]) -> str:
    """The sum of hashes, as a group holds it: the order does not matter."""
    return f"{sum(int(one, 16) for one in hashes) % MODULUS:064x}"


def closed(g: int, prev: str, ts: int, events: int, total: int, digest: Digest) -> Group:
    """The group that holds so many events."""
    text = f"{total % MODULUS:064x}"
    return Group(g, ts, events, text, prev, group_hash(prev, g, ts, events, text, digest))


def chain(
    events: list[Event],
    g: int,
    prev_group: str,
    ts: int,
    *,
    head: Callable[[str], Head],
    salt: Callable[[str], bytes],
    digest: Digest,
) -> Batch:
    """The rows of one commit, each hashed onto the one before it in its session."""
    values: list[Any] = []
    touched: dict[str, Head] = {}
    payloads: list[Stored] = []
    encode, total = canonical.encode, 0
    current, n, prev, used = None, 0, "", 0
    for session, at, kind, path, actor, body, tokens in events:
        if not (session.isascii() and path.isascii() and actor.isascii()):
            session, path, actor = stored_name(session), stored_name(path), stored_name(actor)
        if session != current:  # events of one session mostly follow each other
            if current is not None:
                touched[current] = Head(n, prev, used)
            current, (n, prev, used) = session, touched.get(session) or head(session)
        if isinstance(body, str):
            text = body
        elif isinstance(body, tuple):
            text = body[0](*body[1:])
        else:
            text = body.sealed(session, at, salt, payloads)
        n += 1
        raw = digest(encode((prev, session, n, g, at, kind, path, actor, text)))
        hashed = raw.hex()
        values += (session, n, g, at, kind, path, actor, text, prev, hashed)
        total += int.from_bytes(raw, "big")
        prev, used = hashed, used + tokens
    if current is not None:
        touched[current] = Head(n, prev, used)
    return Batch(values, touched, closed(g, prev_group, ts, len(events), total, digest), payloads)


def stored_name(name: str) -> str:
    """Text that a database can hold: a lone surrogate (a model can write one) must not stop the record."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()
