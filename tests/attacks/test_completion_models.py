"""A model class that brings its own way in is governed there, once, whatever it goes on to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult

from governance import Contract, Sidecar, govern
from governance.errors import BudgetExceeded


class Own(LLM):
    """A completion model that brings every way in."""

    asked: list[str] = []  # noqa: RUF012 - a pydantic field

    @property
    def _llm_type(self) -> str:
        return "own"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        self.asked.append("call")
        return "said"

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        self.asked.append("invoke")
        return "said"

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return self.invoke(input)

    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        self.asked.append("stream")
        yield "said"

    async def astream(self, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        self.asked.append("stream")
        yield "said"

    def generate(self, prompts: Any, *args: Any, **kwargs: Any) -> LLMResult:
        self.asked.append("generate")
        return LLMResult(generations=[[Generation(text="said")] for _ in prompts])

    def batch(self, inputs: Any, config: Any = None, **kwargs: Any) -> list[Any]:
        self.asked.append("batch")
        return ["said" for _ in inputs]

    async def abatch(self, inputs: Any, config: Any = None, **kwargs: Any) -> list[Any]:
        return self.batch(inputs)


class Through(LLM):
    """A completion model that looks at what comes and goes, and leaves the rest to its base class."""

    asked: list[str] = []  # noqa: RUF012 - a pydantic field

    @property
    def _llm_type(self) -> str:
        return "through"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        self.asked.append("call")
        return "said"

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        return super().invoke(*args, **kwargs)

    async def ainvoke(self, *args: Any, **kwargs: Any) -> Any:
        return await super().ainvoke(*args, **kwargs)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from super().stream(*args, **kwargs)

    async def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for piece in super().astream(*args, **kwargs):
            yield piece

    def batch(self, *args: Any, **kwargs: Any) -> Any:
        return super().batch(*args, **kwargs)


class Chatting(BaseChatModel):
    """A chat model with streams and batches of its own, and without `_stream`."""

    asked: list[str] = []  # noqa: RUF012 - a pydantic field

    @property
    def _llm_type(self) -> str:
        return "chatting"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.asked.append("generate")
        return ChatResult(generations=[ChatGeneration(message=AIMessage("said"))])

    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        self.asked.append("stream")
        yield AIMessageChunk("said")

    async def astream(self, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        self.asked.append("stream")
        yield AIMessageChunk("said")

    def batch(self, inputs: Any, config: Any = None, **kwargs: Any) -> list[Any]:
        self.asked.append("batch")
        return [AIMessage("said") for _ in inputs]


async def drained(pieces: Any) -> Any:
    return [piece async for piece in pieces]


WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda m: m.invoke("hi"),
    "ainvoke": lambda m: asyncio.run(m.ainvoke("hi")),
    "stream": lambda m: list(m.stream("hi")),
    "astream": lambda m: asyncio.run(drained(m.astream("hi"))),
    "batch": lambda m: m.batch(["hi", "you"]),
    "abatch": lambda m: asyncio.run(m.abatch(["hi"])),
    "piped": lambda m: (m | str).invoke("hi"),
}
KINDS = [Own, Through, Chatting]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", list(WAYS))
def test_a_way_in_of_its_own_is_on_record_once(way: str, kind: Any, sidecar: Sidecar, one: Any, rows: Any) -> None:
    model = kind(asked=[])
    govern(graph := one(lambda s: {"out": str(WAYS[way](model))}), contracts={"n": Contract()}, sidecar=sidecar)

    assert "said" in graph.invoke({"out": ""})["out"]

    assert ["model.ended"] == [row.kind for row in rows("model")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", list(WAYS))
def test_a_way_in_of_its_own_does_not_pass_the_budget(way: str, kind: Any, sidecar: Sidecar, one: Any) -> None:
    model = kind(asked=[])
    graph = one(lambda s: {"out": str(WAYS[way](model))})
    govern(graph, contracts={"n": Contract(tokens=5)}, sidecar=sidecar)

    with pytest.raises(BudgetExceeded):
        graph.invoke({"out": ""})

    assert [] == model.asked


def test_generating_by_itself_is_on_record_once(sidecar: Sidecar, one: Any, rows: Any) -> None:
    graph = one(lambda s: {"out": str(Own(asked=[]).generate(["hi", "you"]))})
    govern(graph, contracts={"n": Contract()}, sidecar=sidecar).invoke({"out": ""})

    assert ["model.ended"] == [row.kind for row in rows("model")]


def test_a_stream_of_its_own_that_is_broken_off_is_on_record(sidecar: Sidecar, one: Any, rows: Any) -> None:
    class Endless(Own):
        def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
            while True:
                yield "said"

    graph = one(lambda s: {"out": next(iter(Endless(asked=[]).stream("hi")))})
    govern(graph, contracts={"n": Contract(tokens=5_000)}, sidecar=sidecar).invoke({"out": ""})

    assert [("model.interrupted", True)] == [(row.kind, row.body["tokens"] > 1_000) for row in rows("model")]
