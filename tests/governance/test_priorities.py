"""How much a run matters is what it says by the key that operators have set, and normal otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from governance import Contract, Sidecar, govern
from governance.current import current_call
from governance.errors import ConfigurationError
from governance.policy import Policy, PriorityPolicy
from governance.priorities import LEVELS, NORMAL, priority_of

BY_KEY = Policy(priorities=PriorityPolicy(key="matters"))


def seen_in(one: Any, sidecar: Sidecar, policy: Policy, **configurable: Any) -> int:
    seen = []

    def node(state: Any) -> Any:
        call = current_call()
        assert call is not None
        seen.append(priority_of(call))

    inner = one(node)
    graph = one(lambda state: inner.invoke(state))
    contracts = {"n": Contract(), "n/*": Contract()}
    govern(graph, contracts=contracts, policy=policy, sidecar=sidecar).invoke(
        {"out": ""}, {"configurable": configurable}
    )
    return seen[0]


@pytest.mark.parametrize("level", LEVELS)
def test_a_run_inside_matters_as_much_as_the_outermost(level: str, one: Any, sidecar: Sidecar) -> None:
    assert LEVELS.index(level) == seen_in(one, sidecar, BY_KEY, matters=level)


def test_it_is_normal_where_nobody_asks_or_none_is_named(one: Any, sidecar: Sidecar) -> None:
    assert NORMAL == seen_in(one, sidecar, Policy(), matters="high")
    assert NORMAL == seen_in(one, sidecar, BY_KEY, priority="high")


def test_another_word_says_what_is_expected(one: Any, sidecar: Sidecar) -> None:
    with pytest.raises(ConfigurationError, match=r"\['matters'\] must be one of low, normal, high, not 'urgent'"):
        seen_in(one, sidecar, BY_KEY, matters="urgent")
