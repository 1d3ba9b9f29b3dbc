"""Which dependency a call asks, and who shares it."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from governance.call import ModelCall, ToolCall
from governance.directory import Directory, endpoint
from governance.plane.dependencies import Dependencies
from governance.policy import Policy
from governance.policy_failures import BreakerPolicy, DependencyPolicy, RetriesPolicy

BREAKER = BreakerPolicy(window=3)


def call(kind: type, name: str, **of: Any) -> Any:
    made = object.__new__(kind)
    made.name = name
    if kind is ModelCall:
        made.model = SimpleNamespace(**of)
    return made


def directory(*own: DependencyPolicy, shared: Dependencies | None = None, **general: Any) -> Directory:
    return Directory(Policy(dependency=own, **general), shared or Dependencies())


@pytest.mark.parametrize(
    ("member", "kind", "name", "of", "expected"),
    [
        ("look", ToolCall, "look", {}, "mine"),
        ("tool:look", ToolCall, "look", {}, "mine"),
        ("model:look", ToolCall, "look", {}, "tool:look"),
        ("gpt", ModelCall, "gpt", {}, "mine"),
        ("tool:gpt", ModelCall, "gpt", {}, "model:gpt"),
        ("gpt@api.x:80", ModelCall, "gpt", {"openai_api_base": "http://api.x:80/v1"}, "mine"),
        ("gpt@api.y", ModelCall, "gpt", {"openai_api_base": "http://api.x:80/v1"}, "model:gpt@api.x:80"),
        ("api.x:80", ModelCall, "other", {"base_url": "http://api.x:80/v1"}, "mine"),
    ],
)
def test_names(member: str, kind: type, name: str, of: dict[str, Any], expected: str) -> None:
    found = directory(DependencyPolicy(name="mine", members=(member,)), breaker=BREAKER)

    assert expected == found.of(call(kind, name, **of)).name


def test_an_endpoint_is_host_and_port() -> None:
    assert "" == endpoint(SimpleNamespace(openai_api_base=None))
    assert "h:1" == endpoint(SimpleNamespace(openai_api_base="http://user:word@h:1/v1?x=1"))


def test_one_of_its_own_is_laid_over_what_holds_for_all() -> None:
    found = directory(DependencyPolicy(name="look", retries=RetriesPolicy(attempts=7)), breaker=BREAKER)
    rules = found.of(call(ToolCall, "look")).rules

    assert (7, BREAKER, None) == (rules.retries and rules.retries.attempts, rules.breaker, rules.bulkhead)
    assert found.of(call(ToolCall, "other")).rules.retries is None


def test_those_that_say_the_same_share_and_others_do_not() -> None:
    shared = Dependencies()
    first, second = (directory(shared=shared, breaker=BreakerPolicy(window=3)) for _ in range(2))
    third = directory(shared=shared, breaker=BreakerPolicy(window=4))
    look = call(ToolCall, "look")

    assert first.of(look) is second.of(look)
    assert first.of(look) is not third.of(look)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_begins_anew() -> None:
    """A lock that was held at the fork would be held for ever, and what the parent counts is not the child's."""
    found = directory(breaker=BREAKER, retries=RetriesPolicy())
    before = found.of(call(ToolCall, "look"))
    budget = before.budget
    assert budget is not None
    budget._lock.acquire()
    child = os.fork()
    if child == 0:
        after = found.of(call(ToolCall, "look"))
        assert after.budget is not None
        os._exit(0 if after is not before and after.budget.take() else 1)

    assert 0 == os.waitpid(child, 0)[1]
