"""Where a request begins: first attempts of nodes, of which a part may be made again."""

from __future__ import annotations

from governance.call import NodeCall


def first_tries(call: NodeCall) -> None:
    """Stands only where retries are governed."""
    if call.attempt == 1:
        if call.session.requests:
            call.session.requests.pop(call.path, None)  # of an earlier run that came to this place
        budget = call.governance.directory.of_node(call).budget
        if budget is not None:
            budget.deposit()
