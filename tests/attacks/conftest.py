"""A till whose tools move money, a graph of one node, and the record: what every attack is tried against."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import pytest
from langchain_core.messages import AnyMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from governance import Sidecar, SideEffect, declares


class State(TypedDict, total=False):
    out: str
    other: str
    secret: str
    amount: int
    items: list[str]
    messages: Annotated[list[AnyMessage], add_messages]


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


class Row(NamedTuple):
    session: str
    n: int
    kind: str
    path: str
    actor: str
    body: dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    db = sqlite3.connect(path)
    try:
        found = db.execute("SELECT session,n,kind,path,actor,body FROM events ORDER BY session,n").fetchall()
    finally:
        db.close()
    return [Row(*values, json.loads(body)) for *values, body in found]


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A Sidecar of this test alone."""
    made = Sidecar(ledger=tmp_path / "ledger.db")
    yield made
    made.close()


@pytest.fixture
def till() -> Till:
    return Till()


@pytest.fixture
def rows(sidecar: Sidecar) -> Callable[[], list[Row]]:
    """Everything on record so far."""

    def read() -> list[Row]:
        sidecar.ledger.flush()
        return read_rows(sidecar.ledger.path)

    return read


@pytest.fixture
def one() -> Callable[..., Any]:
    """Compiles a graph whose only node is `n`; keywords go to `compile`, `options` to the node."""

    def build(node: Any, state: Any = State, options: dict[str, Any] | None = None, **compiled: Any) -> Any:
        builder = StateGraph(state)
        builder.add_node("n", node, **(options or {}))
        builder.add_edge(START, "n")
        return builder.compile(**compiled)

    return build


@pytest.fixture
def chain_of() -> Callable[..., Any]:
    """Compiles a graph that runs its nodes one after the other, in the order of the keywords."""

    def build(state: Any = State, compiled: dict[str, Any] | None = None, **nodes: Any) -> Any:
        builder = StateGraph(state)
        before = START
        for name, node in nodes.items():
            builder.add_node(name, node)
            builder.add_edge(before, name)
            before = name
        return builder.compile(**(compiled or {}))

    return build


@pytest.fixture
def thread() -> dict[str, Any]:
    return {"configurable": {"thread_id": "t"}}
