"""Author's code in forms that LangGraph runs in its own way: an LCEL sequence, and a graph's entry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSequence
from langchain_core.runnables.config import patch_config


class Unchanged(Runnable[Any, Any]):
    """The input as it is: what a graph's entry is before its edges choose the first node."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return input


class Flat(Runnable[Any, Any]):
    """An LCEL sequence run as LangGraph runs it inside a node: one after the other, without a run of its own."""

    def __init__(self, sequence: RunnableSequence[Any, Any]) -> None:
        self.steps = sequence.steps

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        value = self.steps[0].invoke(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            value = step.invoke(value, _tagged(config, number))
        return value

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        value = await self.steps[0].ainvoke(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            value = await step.ainvoke(value, _tagged(config, number))
        return value

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        pieces = self.steps[0].stream(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            pieces = step.transform(pieces, _tagged(config, number))
        yield from pieces

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        pieces = self.steps[0].astream(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            pieces = step.atransform(pieces, _tagged(config, number))
        async for piece in pieces:
            yield piece


def _tagged(config: RunnableConfig | None, number: int) -> RunnableConfig | None:
    """The config of the n-th step of a sequence: the same parent run, with that step's tag."""
    manager = (config or {}).get("callbacks")
    if config is None or not isinstance(manager, BaseCallbackManager):
        return config
    child = manager.copy()
    child.tags = [f"seq:step:{number}" if tag == "seq:step:1" else tag for tag in child.tags]
    return patch_config(config, callbacks=child)
