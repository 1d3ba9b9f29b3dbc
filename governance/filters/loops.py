"""Sees tool calls with their results: the same call with the same result again and again is a loop."""

from __future__ import annotations

from governance import canonical
from governance.call import Flow, Proceed, ToolCall
from governance.errors import LoopStopped


class Loops:
    """Refuses the next identical call once `policy.loops.repeats` of them in a row gave the same result."""

    def __call__(self, call: ToolCall) -> Flow:
        if "loops" in call.contract.waives:
            return (yield Proceed(call))
        session, wanted = call.session, call.governance.policy.loops.repeats
        asked = (call.name, canonical.digest(call.args))
        last = session.last_calls(wanted)
        if len(last) == wanted and all(one == last[0] for one in last) and last[0][:2] == asked:
            raise LoopStopped(
                f"{call.name} was called {wanted} times in a row with the same arguments and the same result",
                tool=call.name,
            )
        result = yield Proceed(call)
        if not call.reused:  # a node that runs again asks the same again, and nothing is done
            content = getattr(result, "content", result)
            session.note_call((*asked, canonical.digest(content)), keep=wanted)
        return result
