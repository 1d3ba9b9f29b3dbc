"""States of every form, and nodes of every shape, each of which tries to pay."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnablePassthrough
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from pydantic import BaseModel


class Typed(TypedDict, total=False):
    out: str
    secret: str


class Modelled(BaseModel):
    out: str = ""
    secret: str = ""
    messages: Annotated[list[AnyMessage], add_messages] = []


@dataclass
class Classed:
    out: str = ""
    secret: str = ""


def shapes(pay: Any) -> dict[str, Any]:
    """Nodes of every kind, each of which tries to pay."""

    def plain(state: Any) -> Any:
        return {"out": pay.invoke({"amount": 1})}

    def with_config(state: Any, config: RunnableConfig) -> Any:
        return {"out": pay.invoke({"amount": 1}, config)}

    def with_runtime(state: Any, runtime: Runtime[Any]) -> Any:
        return {"out": pay.invoke({"amount": 1})}

    async def coroutine(state: Any) -> Any:
        return {"out": await pay.ainvoke({"amount": 1})}

    def generator(state: Any) -> Any:
        yield {"out": pay.invoke({"amount": 1})}

    async def async_generator(state: Any) -> Any:
        yield {"out": await pay.ainvoke({"amount": 1})}

    class Callable_:
        def __call__(self, state: Any) -> Any:
            return plain(state)

        def method(self, state: Any) -> Any:
            return plain(state)

    def partial(extra: int, state: Any) -> Any:
        return plain(state)

    def anything(state: Any) -> Any:
        return {}

    return {
        "plain": plain,
        "config": with_config,
        "runtime": with_runtime,
        "lambda": lambda state: {"out": pay.invoke({"amount": 1})},
        "partial": functools.partial(partial, 1),
        "object": Callable_(),
        "method": Callable_().method,
        "runnable": RunnableLambda(plain),
        "sequence": RunnablePassthrough() | RunnableLambda(plain),
        "sequence end": RunnableLambda(anything) | RunnableLambda(plain),
        "parallel": RunnableLambda(anything) | {"out": lambda state: pay.invoke({"amount": 1})},
        "retried": RunnableLambda(plain).with_retry(stop_after_attempt=3, wait_exponential_jitter=False),
        "fallback": RunnableLambda(plain).with_fallbacks([RunnableLambda(lambda state: {"out": "fine"})]),
        "generator": generator,
        "coroutine": coroutine,
        "async generator": async_generator,
        "async runnable": RunnableLambda(coroutine),
    }


def sync_shapes(pay: Any) -> dict[str, Any]:
    return {k: v for k, v in shapes(pay).items() if "async" not in k and k != "coroutine"}
