"""Every shape of node and graph, with values as text that two runs can share."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from governance import Contract, Sidecar, govern
from governance.testing.models import ScriptedChatModel

VOLATILE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b|\blc_run-+"
    r"|\d{4}-\d\d-\d\dT[\d:.+]+|0\.\d{12,}|00000\d+\.[0-9.]+|(?<= at )0x[0-9a-f]+|<object object[^>]*>"
)
Build = Callable[[], Any]


class State(TypedDict, total=False):
    out: str
    count: int
    log: Annotated[list[str], lambda a, b: a + b]
    messages: Annotated[list[AnyMessage], add_messages]


class Modelled(BaseModel):
    out: str = ""
    log: Annotated[list[str], lambda a, b: a + b] = []


@dataclass
class Classed:
    out: str = ""
    log: Annotated[list[str], lambda a, b: a + b] = field(default_factory=list)


def steady(value: Any) -> str:
    """A value as text, without ids and times, which no two runs share."""
    return VOLATILE.sub("#", repr(value))


def plain(state: Any) -> Any:
    return {"out": "plain", "log": ["plain"]}


async def coroutine(state: Any) -> Any:
    return {"out": "coroutine", "log": ["coroutine"]}


def generator(state: Any) -> Iterator[Any]:
    yield {"out": "one"}
    yield {"out": "two", "log": ["generator"]}


async def async_generator(state: Any) -> Any:
    yield {"out": "one"}
    yield {"out": "two", "log": ["async generator"]}


def with_config(state: Any, config: RunnableConfig) -> Any:
    return {"out": config["metadata"]["langgraph_node"]}


def talkative(state: Any) -> Any:
    get_stream_writer()({"half": "way"})
    answer = ScriptedChatModel(["some words to stream"]).invoke([HumanMessage("go on", id="h")])
    return {"messages": [AIMessage(answer.content, id="a")], "out": answer.content}


class Callable_:
    def __call__(self, state: Any) -> Any:
        return {"out": "object"}

    def method(self, state: Any) -> Any:
        return {"out": "method"}


def partial_(extra: str, state: Any) -> Any:
    return {"out": extra}


SHAPES: dict[str, Any] = {
    "plain": plain,
    "coroutine": coroutine,
    "generator": generator,
    "async generator": async_generator,
    "config": with_config,
    "talkative": talkative,
    "object": Callable_(),
    "method": Callable_().method,
    "partial": functools.partial(partial_, "partial"),
    "lcel": RunnableLambda(lambda s: {**s, "out": "lcel"}) | RunnableLambda(lambda s: {"out": s["out"] + "!"}),
    "runnable": RunnableLambda(plain),
    "nothing": lambda state: None,
    "command": lambda state: Command(update={"out": "command"}, goto=END),
    "updates": lambda state: [{"log": ["a"]}, Command(update={"log": ["b"]})],
}
ASYNC_ONLY = {"coroutine", "async generator"}


def of_shape(node: Any, state: Any = State) -> Any:
    builder = StateGraph(state)
    builder.add_node("n", node, destinations=(END,))
    builder.add_node("after", lambda state: {"log": ["after"]})
    builder.add_edge(START, "n")
    builder.add_edge("n", "after")
    return builder.compile()


def fanned_out() -> Any:
    builder = StateGraph(State)
    builder.add_node("plan", lambda state: {"log": ["plan"]})
    builder.add_node("work", lambda state: {"log": [f"work {state['count']}"]})
    builder.add_conditional_edges("plan", lambda state: [Send("work", {"count": n}) for n in range(3)], ["work"])
    builder.add_edge(START, "plan")
    return builder.compile()


def nested() -> Any:
    inner = StateGraph(State)
    inner.add_node("leaf", plain)
    inner.add_edge(START, "leaf")
    outer = StateGraph(State)
    outer.add_node("sub", inner.compile())
    outer.add_node("calls", lambda state: {"log": inner.compile().invoke({"out": ""})["log"]})
    outer.add_edge(START, "sub")
    outer.add_edge("sub", "calls")
    return outer.compile()


def retried() -> Any:
    failed: list[int] = []

    def flaky(state: Any) -> Any:
        if len(failed) < 2:
            failed.append(1)
            raise ConnectionError("weather")
        return {"out": "at last"}

    builder = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ConnectionError)
    builder.add_node("n", flaky, retry_policy=policy)
    builder.add_edge(START, "n")
    return builder.compile()


def handled() -> Any:
    def fails(state: Any) -> Any:
        raise ValueError("handled")

    def handler(state: Any) -> Any:
        return {"out": "handled"}

    builder = StateGraph(State)
    builder.add_node("n", fails, error_handler=handler)
    builder.add_edge(START, "n")
    return builder.compile()


def commanded() -> Any:
    builder = StateGraph(State)
    builder.add_node("n", lambda state: Command(update={"log": ["n"]}, goto="b"), destinations=("a", "b"))
    builder.add_node("a", lambda state: {"log": ["a"]})
    builder.add_node("b", lambda state: {"log": ["b"]})
    builder.add_edge(START, "n")
    return builder.compile()


def looped() -> Any:
    builder = StateGraph(State)
    builder.add_node("n", lambda state: {"count": state.get("count", 0) + 1})
    builder.add_conditional_edges("n", lambda state: "n" if state["count"] < 3 else END)
    builder.add_edge(START, "n")
    return builder.compile()


@tool
def look(what: str) -> str:
    """Looks."""
    return f"saw {what}"


def calling(name: str, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": "c1", "type": "tool_call"}], id="call")


def agent() -> Any:
    return create_agent(ScriptedChatModel([calling("look", what="it"), AIMessage("done", id="end")]), [look])


def tools() -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [calling("look", what="it")]})
    builder.add_node("tools", ToolNode([look]))
    builder.add_edge(START, "model")
    builder.add_edge("model", "tools")
    return builder.compile()


GRAPHS: dict[str, Build] = {
    **{name: functools.partial(of_shape, node) for name, node in SHAPES.items()},
    "pydantic": functools.partial(of_shape, plain, Modelled),
    "dataclass": functools.partial(of_shape, plain, Classed),
    "fan-out": fanned_out,
    "nested": nested,
    "retried": retried,
    "handled": handled,
    "commanded": commanded,
    "looped": looped,
    "agent": agent,
    "tool node": tools,
}
SYNC = sorted(set(GRAPHS) - ASYNC_ONLY)


def put(graph: Any, mode: Any, sidecar: Sidecar) -> Any:
    """The graph, governed in a mode, under contracts that allow all it does."""
    contracts = None if mode == "observe" else {"*": Contract(tools=["look"])}
    return govern(graph, contracts=contracts, mode=mode, sidecar=sidecar)


def given(name: str) -> dict[str, Any]:
    return {"messages": [HumanMessage("hi", id="hi")]} if name in ("agent", "tool node") else {"out": "", "log": []}
