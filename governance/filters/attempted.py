"""Notes each execution of a node that may be isolated or replaced: what follows its last attempt needs to know them."""

from __future__ import annotations

import contextvars

from governance.call import NodeCall

ATTEMPTED: contextvars.ContextVar[list[NodeCall] | None] = contextvars.ContextVar("sidecar_attempted", default=None)
"""The executions of one task so far. One list for all of them: attempts may run in contexts of their own."""


def attempted(call: NodeCall) -> None:
    """Outermost, since it numbers the execution: a fallback goes on where the attempts of the node have ended."""
    known = ATTEMPTED.get()
    if known is None or call.scheduled:  # a task's failure is for the node that scheduled it
        return
    if known:
        call.attempt = max(call.attempt, len(known) + 1)
        if call.parent is None:
            call.request = call.request or known[-1].request  # what has failed in it is still the same request's
    known.append(call)
