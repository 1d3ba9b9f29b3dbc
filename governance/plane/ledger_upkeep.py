"""What the writer thread does beside writing: anchors now and then, and an eye on the disk."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from dataclasses import dataclass

from governance.plane.anchors import Anchor, Write
from governance.plane.disk import Watermark
from governance.plane.ledger_rows import Group
from governance.plane.ledger_store import Store


@dataclass(slots=True)
class Upkeep:
    """The state of one writer thread."""

    watermark: Watermark
    anchor: Write | None
    every: float
    _next: float = 0.0
    _last: Group | None = None
    _given: int = -1
    _warned: bool = False

    def committed(self, store: Store, group: Group | None) -> None:
        """Give the end of the chain away where it is time."""
        self._last = group
        if self.anchor is not None and group is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.every
            self._give(store, group, self.anchor)

    def finish(self, store: Store) -> None:
        """The last word of this process."""
        if self.anchor is not None and self._last is not None:
            self._give(store, self._last, self.anchor)

    def _give(self, store: Store, group: Group, write: Write) -> None:
        if group.g == self._given:
            return
        try:
            store.append([], durable=True)  # a power cut must not take what an anchor speaks of
            write(Anchor(group.g, group.hash, group.ts))
            self._given = group.g
        except Exception as error:  # the user's own code, or another disk: the record itself goes on
            if not self._warned:
                self._warned = True
                with suppress(RuntimeWarning):  # where warnings are errors, they are not for the writer's thread
                    warnings.warn(f"an anchor of the ledger cannot be written: {error}", RuntimeWarning, stacklevel=2)
