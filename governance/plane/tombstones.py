"""What stands in a ledger for rows that went into an archive: enough to add its groups up without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from governance import canonical
from governance.plane.ledger_rows import MODULUS


def shares_of(rows: Iterable[tuple[int, str]]) -> str:
    """What rows, given as (group, hash), have contributed to each group; the stored text."""
    added: dict[int, list[int]] = {}
    for g, hashed in rows:
        share = added.setdefault(g, [0, 0])
        share[0] += 1
        share[1] += int(hashed, 16)
    return canonical.text([[g, events, f"{total % MODULUS:064x}"] for g, (events, total) in sorted(added.items())])


def read_shares(text: str) -> Iterator[tuple[int, int, int]]:
    """(group, rows, sum); nothing where somebody edited it, which its digest shows."""
    try:
        yield from ((int(g), int(events), int(total, 16)) for g, events, total in orjson.loads(text))
    except (ValueError, TypeError):
        return


def tombstone_digest(*facts: Any) -> str:
    """What the event `ledger.archived` says of the tombstone it speaks of."""
    return canonical.digest(facts)
