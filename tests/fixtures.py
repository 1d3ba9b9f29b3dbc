"""A Sidecar of each test alone, its record, and graphs of one or a few nodes to put under it."""

from __future__ import annotations

import json
import operator
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from governance import Sidecar


class State(TypedDict, total=False):
    out: str
    other: str
    secret: str
    amount: int
    items: list[str]
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


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
        found = db.execute("SELECT session,n,kind,path,actor,body FROM events ORDER BY ts,session,n").fetchall()
    finally:
        db.close()
    return [Row(*values, json.loads(body)) for *values, body in found]


def calling(*calls: tuple[str, dict[str, Any]]) -> AIMessage:
    """A model's answer that calls these tools with these arguments; the ids are `c0`, `c1`, ..."""
    made = [{"name": name, "args": args, "id": f"c{n}", "type": "tool_call"} for n, (name, args) in enumerate(calls)]
    return AIMessage("", tool_calls=made)


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """A Sidecar of this test alone."""
    made = Sidecar(ledger=tmp_path / "ledger.db")
    yield made
    made.close()


@pytest.fixture
def rows(sidecar: Sidecar) -> Callable[..., list[Row]]:
    """What is on record so far, in the order of time; a word picks the kinds that begin with it."""

    def read(kind: str = "") -> list[Row]:
        sidecar.ledger.flush()
        return [row for row in read_rows(sidecar.ledger.path) if row.kind.startswith(kind)]

    return read


@pytest.fixture
def line() -> Callable[..., Any]:
    """Compiles a graph that runs its nodes one after the other, in the order of the keywords."""

    def build(state: Any = State, compiled: dict[str, Any] | None = None, **nodes: Any) -> Any:
        builder = StateGraph(state)
        before = START
        for name, node in nodes.items():
            given, options = node if isinstance(node, tuple) else (node, {})
            builder.add_node(name, given, **options)
            builder.add_edge(before, name)
            before = name
        return builder.compile(**(compiled or {}))

    return build


@pytest.fixture
def one(line: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a graph whose only node is `n`; keywords go to `compile`, `options` to the node."""

    def build(node: Any, state: Any = State, options: dict[str, Any] | None = None, **compiled: Any) -> Any:
        return line(state, compiled, n=(node, options or {}))

    return build


@pytest.fixture
def thread() -> dict[str, Any]:
    return {"configurable": {"thread_id": "t"}}
