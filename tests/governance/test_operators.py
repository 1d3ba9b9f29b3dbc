"""A person from outside: by name and with a reason, never code of a node."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from governance import Contract, Sidecar, govern, operator
from governance.errors import AuthorityRefused, ConfigurationError
from governance.operators import Operator, current_operator


def test_an_operator_acts_inside_the_block_alone() -> None:
    with operator("ann", reason="typo") as acting:
        assert Operator("ann", "typo") == acting == current_operator()

    assert current_operator() is None


def test_after_an_error_nobody_is_an_operator_any_more() -> None:
    with pytest.raises(ZeroDivisionError), operator("ann", reason="typo"):
        raise ZeroDivisionError

    assert current_operator() is None


@pytest.mark.parametrize(("name", "reason"), [("", "x"), ("ann", ""), (" ", "x"), ("ann", " ")])
def test_a_name_and_a_reason_are_needed(name: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match="needs both a name and a reason"), operator(name, reason=reason):
        pass


def test_tasks_of_one_loop_are_not_each_others_operators() -> None:
    async def acts(name: str) -> Any:
        with operator(name, reason="r"):
            await asyncio.sleep(0)
            return current_operator()

    async def both() -> Any:
        return await asyncio.gather(acts("ann"), acts("bob"), asyncio.to_thread(current_operator))

    assert ["ann", "bob", None] == [one and one.name for one in asyncio.run(both())]


def test_a_node_cannot_become_an_operator(line: Any, sidecar: Sidecar) -> None:
    def node(state: Any) -> Any:
        try:
            with operator("ann", reason="trust me"):
                return {"out": "acted"}
        except AuthorityRefused:
            return {"out": "swallowed"}

    graph = govern(line(n=node), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="n tried to act as operator 'ann'"):
        graph.invoke({"out": ""})
