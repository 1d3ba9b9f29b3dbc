"""An effect that was cut off, while the code of its tool goes on: its end is heard, though nobody waits for it.

Until then the effect stays with it, as with any run that is at work: whoever comes to it waits, and nobody judges
what may be about to happen.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from governance.call import ToolCall
from governance.contracts import SideEffect
from governance.deadlines import Rest, rest_of, threads_of
from governance.plane.effects import Intent


def left_behind(call: ToolCall, effect: SideEffect, *, cancelled: bool = False) -> list[Rest]:
    """What goes on of it after a deadline, or a cancellation; one that may be repeated is not waited for."""
    rest = rest_of(call)
    if effect.idempotent or (rest is None and not cancelled):
        return []
    return [*threads_of(call), *([] if rest is None else [rest])]


def hear_out(call: ToolCall, intent: Intent, rests: Sequence[Rest]) -> None:
    """Store how it ends, and only then let others have the effect. Does not block."""
    call.governance.effects.cut_off(intent)
    end = _End(call, intent, rests)
    for rest in rests:
        rest.add_done_callback(end)


class _End:
    """Called when one thing that goes on has ended, in its thread or on its event loop: nothing blocks here."""

    def __init__(self, call: ToolCall, intent: Intent, rests: Sequence[Rest]) -> None:
        self.call = call
        self.intent = intent
        self._several = len(rests) > 1
        self._open = set(rests)
        self._lock = threading.Lock()

    def __call__(self, rest: Rest) -> None:
        with self._lock:
            self._open.discard(rest)
            if self._open:
                return
        effects, key, execution = self.call.governance.effects, self.intent.key, self.call.execution
        known = rest is rest_of(self.call) and not self._several
        if known and rest.cancelled():  # what it asked may still be under way: as after a crash, its lease runs out
            effects.let_go(key, execution)
        elif known and rest.exception() is None and getattr(rest.result(), "status", None) != "error":
            self._note()
            effects.finish_soon(key, execution, rest.result(), self.intent.step)
        else:
            effects.leave_soon(key, execution)

    def _note(self) -> None:
        call = self.call
        body = {"tool": call.name, "execution": call.execution, "late": True}
        call.governance.ledger.record(
            call.session.id, "effect.finished", path=call.path, actor=call.name, body=body
        )  # fmt: skip
