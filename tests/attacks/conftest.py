"""A till whose tools move money, and a graph that waits for a person."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from governance import Contract, Sidecar, SideEffect, declares, govern
from tests.attacks.answers import LOCAL, asked, paying
from tests.attacks.bank import Bank


class Till:
    """Tools that leave a mark in `done` when they really ran."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []
        self.lookup = self.tool("lookup")
        self.refund = declares(SideEffect("write"))(self.tool("refund"))
        self.pay = self.tool("pay")

    def tool(self, name: str) -> BaseTool:
        """A tool called `name`, for sync and async callers, that notes the amount it was given."""

        def run(amount: int = 1) -> str:
            self.done.append((name, amount))
            return f"{name} {amount}"

        async def arun(amount: int = 1) -> str:
            return run(amount)

        return StructuredTool.from_function(run, coroutine=arun, name=name, description=f"{name} an amount")

    def ran(self, name: str) -> list[Any]:
        return [amount for tool, amount in self.done if tool == name]


@pytest.fixture
def till() -> Till:
    return Till()


@pytest.fixture
def waiting(sidecar: Sidecar, till: Till, one: Any) -> Any:
    """A graph that waits for a decision about paying 100, and the card."""
    graph = govern(
        one(lambda s: {"out": str(till.pay.invoke({"amount": 100}))}, checkpointer=InMemorySaver()),
        contracts={"n": paying()},
        policy=LOCAL,
        sidecar=sidecar,
    )
    return graph, asked(graph)


@pytest.fixture
def ruled(sidecar: Sidecar) -> Callable[..., Any]:
    """Governs a graph on this test's Sidecar, by whose leases nobody waits long."""
    sidecar.effects.lease = 0.3
    return functools.partial(govern, sidecar=sidecar)


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    yield Bank(tmp_path / "books")


@pytest.fixture
def put(tmp_path: Path, sidecar: Sidecar, one: Any) -> Callable[..., Any]:
    """Governs a graph of one node, under rules."""

    def make(node: Any, contract: Contract, rules: str = "", **options: Any) -> Any:
        path = tmp_path / "sidecar.toml"
        path.write_text(rules)
        return govern(one(node, **options), contracts={"n": contract}, policy=path, sidecar=sidecar)

    return make
