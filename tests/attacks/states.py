"""A state in each form that LangGraph takes, and the function by which LangGraph itself writes to it."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.config import get_config
from langgraph.graph.message import add_messages
from pydantic import BaseModel


class Ledgered(TypedDict, total=False):
    out: str
    number: float
    log: Annotated[list[str], operator.add]
    secret: str
    bag: Any
    messages: Annotated[list[AnyMessage], add_messages]


class Strictly(BaseModel):
    number: float = 0.0
    log: Annotated[list[str], operator.add] = []


@dataclass
class Loosely:
    number: float = 0.0
    log: Annotated[list[str], operator.add] = field(default_factory=list)


def send(*writes: tuple[str, Any]) -> None:
    get_config()["configurable"]["__pregel_send"](list(writes))
