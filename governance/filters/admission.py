"""Whether the session may go on at all: repeats, visits, and what it has spent."""

from __future__ import annotations

from governance.call import Flow, NodeCall, Proceed
from governance.errors import BudgetExceeded, LoopStopped


class Admission:
    """Stops a session that repeats itself or has nothing left to spend, before the node runs."""

    def __call__(self, call: NodeCall) -> Flow:
        policy, session = call.governance.policy, call.session
        limit = policy.loops.visits
        if limit is not None:
            visits = session.visit(call.place)
            if visits > limit:
                raise LoopStopped(
                    f"{call.place} ran {visits - 1} times in this session, the policy allows {limit}",
                    visits=visits,
                )
        total = policy.budget.session_tokens
        if total is not None and session.tokens >= total:
            raise BudgetExceeded(
                f"session {session.id} has used {session.tokens} of {total} tokens", session=session.id
            )
        return (yield Proceed(call))
