"""Ends of the chain of groups, written where whoever may write the ledger may not: a file, stdout, anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from governance.errors import LedgerError


class Anchor(NamedTuple):
    """The whole ledger at one moment: nothing up to this group can be changed, cut or replaced unseen."""

    g: int
    hash: str
    ts: int

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps({"g": self.g, "hash": self.hash, "ts": self.ts})


Write = Callable[[Anchor], None]


def write_to(place: str) -> Write:
    """Appends anchors to a file, or prints them where the place is `-`."""
    if place == "-":
        return lambda anchor: print(anchor.line(), flush=True)
    file = Path(place)

    def write(anchor: Anchor) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(anchor.line() + "\n")

    return write


def read_anchors(place: str) -> list[Anchor]:
    """The anchors of a file, or of stdin where the place is `-`; raises `LedgerError` that names the line."""
    try:
        text = sys.stdin.read() if place == "-" else Path(place).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"the anchors in {place} cannot be read ({error})") from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            found.append(Anchor(int(given["g"]), str(given["hash"]), int(given.get("ts", 0))))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise LedgerError(
                f'{place}:{number} is no anchor; expected {{"g": 7, "hash": "...", "ts": 0}}, got {line:.80}'
            ) from None
    return found
