"""Property tests that repeat themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from governance import Contract, Policy, Sidecar, govern
from governance.call import Call
from governance.current import current_call

# The same examples in every run: a test that fails today fails tomorrow.
settings.register_profile("sidecar", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("sidecar")


@pytest.fixture
def asked_inside(one: Any, sidecar: Sidecar) -> Any:
    """Runs a graph in a graph, and tells what a question about the innermost call was answered."""

    def ask(question: Callable[[Call], Any], policy: Policy, **configurable: Any) -> Any:
        seen = []

        def node(state: Any) -> Any:
            call = current_call()
            assert call is not None
            seen.append(question(call))

        inner = one(node)
        graph = one(lambda state: inner.invoke(state))
        contracts = {"n": Contract(), "n/*": Contract()}
        govern(graph, contracts=contracts, policy=policy, sidecar=sidecar).invoke(
            {"out": ""}, {"configurable": configurable}
        )
        return seen[0]

    return ask
