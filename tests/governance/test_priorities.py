"""How much a run matters is what it says by the key that operators have set, and normal otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from governance.errors import ConfigurationError
from governance.policy import Policy, PriorityPolicy
from governance.priorities import LEVELS, NORMAL, priority_of

BY_KEY = Policy(priorities=PriorityPolicy(key="matters"))


@pytest.mark.parametrize("level", LEVELS)
def test_a_run_inside_matters_as_much_as_the_outermost(level: str, asked_inside: Any) -> None:
    assert LEVELS.index(level) == asked_inside(priority_of, BY_KEY, matters=level)


def test_it_is_normal_where_nobody_asks_or_none_is_named(asked_inside: Any) -> None:
    assert NORMAL == asked_inside(priority_of, Policy(), matters="high")
    assert NORMAL == asked_inside(priority_of, BY_KEY, priority="high")


def test_another_word_says_what_is_expected(asked_inside: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"\['matters'\] must be one of low, normal, high, not 'urgent'"):
        asked_inside(priority_of, BY_KEY, matters="urgent")
