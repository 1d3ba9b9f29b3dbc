"""What a benchmark found wrong, as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def lines(findings: object, kinds: Iterable[str], most: int = 5) -> Iterator[str]:
    """Each finding with its kind, and how many more there are of it."""
    for name in kinds:
        found: list[str] = getattr(findings, name)
        yield from (f"{name}: {one}" for one in found[:most])
        if len(found) > most:
            yield f"{name}: and {len(found) - most} more"
