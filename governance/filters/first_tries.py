"""Counts first attempts of nodes: what the retry budget of a node's own code is a part of."""

from __future__ import annotations

from governance.call import NodeCall


def first_tries(call: NodeCall) -> None:
    """Stands only where retries are governed."""
    if call.attempt == 1:
        budget = call.governance.directory.of_node(call).budget
        if budget is not None:
            budget.deposit()
