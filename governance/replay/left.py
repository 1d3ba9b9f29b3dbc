"""The effects that a node had left behind when it failed, as its session's record tells them."""

from __future__ import annotations

from collections.abc import Iterable

from governance.isolation import EffectLeft
from governance.replay.recording import Row

NOTHING = "effect.declined"
FINISHED = ("effect.finished", "effect.reused", "effect.reconciled")
IN_DOUBT = ("effect.intent", "effect.unsettled")


def left_on_record(rows: Iterable[Row], path: str) -> tuple[EffectLeft, ...]:
    """What the rows say of the node at a path, and of the nodes in it."""
    found: dict[str, EffectLeft] = {}
    for row in rows:
        if not row.path.startswith((f"{path}>", f"{path}/")):
            continue
        if row.kind in FINISHED:
            found[row.path] = EffectLeft(row.actor, row.path, "finished")
        elif row.kind in IN_DOUBT:
            found[row.path] = EffectLeft(row.actor, row.path, "in doubt")
        elif row.kind == NOTHING:
            found.pop(row.path, None)
    return tuple(found.values())
