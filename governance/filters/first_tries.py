"""Where a request begins: first attempts of nodes, of which a part may be made again."""

from __future__ import annotations

from governance.call import Flow, NodeCall, Proceed, Run
from governance.plane.retry_budget import RetryBudget


def first_tries(call: NodeCall) -> Flow | None:
    """Stands only where retries are governed."""
    if call.attempt == 1:
        if call.session.requests:
            call.session.requests.pop(call.path, None)  # of an earlier run that came to this place
        budget = call.governance.directory.of_node(call).budget
        if budget is not None:
            if budget.short:
                return _leased(call, budget)
            budget.deposit()
    return None


def _leased(call: NodeCall, budget: RetryBudget) -> Flow:
    yield Run(budget.lease)
    budget.deposit()
    return (yield Proceed(call))
