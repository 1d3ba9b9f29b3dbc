"""Graphs of every shape that a replay has to repeat, each with the changes that may be planted in it.

A shape builds its graph anew for each use: with answers to record a session, and without any to replay it. What is
planted names the place where it must be found, which follows from the graph and not from who looks for it.
"""

from __future__ import annotations

import operator
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import tool
from langgraph.graph.message import add_messages

from governance import Contract, Sidecar
from governance.testing.models import ScriptedChatModel


class State(TypedDict, total=False):
    topic: str
    out: str
    items: list[str]
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


class Words:
    """What a session is made of: other words for each seed, and nothing at all where it is replayed."""

    def __init__(self, seed: int, *, silent: bool = False) -> None:
        self.rng = random.Random(seed)
        self.silent = silent
        self.topic = f"topic {self.rng.randrange(1000)}"
        self.many = self.rng.randrange(2, 5)

    def model(self, *answers: Any, count: int = 1) -> ScriptedChatModel:
        """Says these answers and so many others; a few more for nodes that are killed and run again."""
        said = [*answers, *(f"answer {self.rng.randrange(10**6)}" for _ in range(count + SPARE))]
        return ScriptedChatModel([] if self.silent else said)

    def number(self) -> int:
        return self.rng.randrange(1, 40)


SPARE = 12


@dataclass(frozen=True)
class Built:
    """A graph before it is governed, and the rules it is governed by."""

    graph: Any
    contracts: Mapping[str, Contract] | None
    drive: Callable[[Any, Sidecar, dict[str, Any]], None]


Build = Callable[[Words, str], Built]
SHAPES: dict[str, Build] = {}
PLANTS: dict[tuple[str, str], tuple[str, str]] = {}
"""Shape and what is planted, to the path and the kind of difference that must be found."""
ANY = {"*": Contract()}


def shape(**plants: tuple[str, str]) -> Callable[[Build], Build]:
    def keep(build: Build) -> Build:
        SHAPES[build.__name__] = build
        for plant, found in plants.items():
            PLANTS[build.__name__, plant] = found
        return build

    return keep


def reducing(reducer: Callable[[list[str], list[str]], list[str]]) -> Any:
    """The same state with a reducer of the graph's own."""
    keys = {
        "topic": str,
        "out": str,
        "log": Annotated[list[str], reducer],
        "messages": Annotated[list[Any], add_messages],
    }
    return TypedDict("Reducing", keys, total=False)  # type: ignore[operator]  # its keys are known only when it is made


def once(given: Any) -> Callable[[Any, Sidecar, dict[str, Any]], None]:
    return lambda graph, sidecar, config: graph.invoke(given, config)


def calls(*made: tuple[str, dict[str, Any]]) -> AIMessage:
    named = [{"name": name, "args": args, "id": f"call_{uuid.uuid4().hex}"} for name, args in made]
    return AIMessage("", tool_calls=named, id=f"run-{uuid.uuid4()}")


@tool
def look_up(what: str) -> str:
    """Looks something up."""
    return f"{what}: {random.randrange(10**9)}"


@tool
def weigh(what: str) -> str:
    """Weighs something."""
    return f"{what} weighs {random.randrange(10**6)}"
