"""Every way of asking a model is stopped by a halt, counted by the budget and on record."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    GenerationChunk,
    LLMResult,
)
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from governance import Contract, Policy, Sidecar, govern
from governance.errors import BudgetExceeded, GovernanceError, Halted, Refusal
from governance.plane.stops import Stop
from governance.policy import BudgetPolicy
from governance.testing.models import ScriptedChatModel

STOP = Stop("agent", "n", "enough", "alice", 0.0)


class Answer(BaseModel):
    """An answer."""

    text: str


def scripted(number: int = 8) -> ScriptedChatModel:
    structured = AIMessage("fine", tool_calls=[{"name": "Answer", "args": {"text": "fine"}, "id": "c"}])
    return ScriptedChatModel([structured] * number)


async def drained(pieces: Any) -> Any:
    return [piece async for piece in pieces]


ASKS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda m: m.invoke("hi"),
    "batch": lambda m: m.batch(["hi"]),
    "batch as completed": lambda m: list(m.batch_as_completed(["hi"])),
    "stream": lambda m: list(m.stream("hi")),
    "transform": lambda m: list(m.transform(iter(["hi"]))),
    "generate": lambda m: m.generate([[HumanMessage("hi")]]),
    "generate prompt": lambda m: m.generate_prompt([ChatPromptTemplate.from_messages([("user", "hi")]).invoke({})]),
    "bound": lambda m: m.bind(stop=["x"]).invoke("hi"),
    "tools": lambda m: m.bind_tools([Answer]).invoke("hi"),
    "structured": lambda m: m.with_structured_output(Answer).invoke("hi"),
    "piped": lambda m: (ChatPromptTemplate.from_messages([("user", "hi")]) | m).invoke({}),
    "retry": lambda m: m.with_retry(stop_after_attempt=1).invoke("hi"),
    "fallback": lambda m: m.with_fallbacks([m]).invoke("hi"),
    "configured": lambda m: m.with_config(tags=["x"]).invoke("hi"),
}
ASYNC_ASKS: dict[str, Callable[[Any], Any]] = {
    "ainvoke": lambda m: m.ainvoke("hi"),
    "abatch": lambda m: m.abatch(["hi"]),
    "astream": lambda m: drained(m.astream("hi")),
    "agenerate": lambda m: m.agenerate([[HumanMessage("hi")]]),
    "astream events": lambda m: drained(m.astream_events("hi", version="v2")),
    "tools": lambda m: m.bind_tools([Answer]).ainvoke("hi"),
    "structured": lambda m: m.with_structured_output(Answer).ainvoke("hi"),
    "to_thread": lambda m: asyncio.to_thread(m.invoke, "hi"),
}


def asking(way: str, model: Any) -> Any:
    if way in ASKS and not way.startswith("a"):
        return lambda s: {"out": str(ASKS[way](model))}

    async def node(state: Any) -> Any:
        return {"out": str(await ASYNC_ASKS[way](model))}

    return node


WAYS = [*ASKS, *(way for way in ASYNC_ASKS if way not in ASKS)]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_asking_a_model_is_on_record_once(way: str, sidecar: Sidecar, one: Any, rows: Any) -> None:
    graph = govern(one(asking(way, scripted())), contracts={"n": Contract()}, sidecar=sidecar)

    asyncio.run(graph.ainvoke({"out": ""}))

    assert ["scripted"] == [row.actor for row in rows() if row.kind == "model.ended"]


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_asking_a_model_passes_the_budget(way: str, sidecar: Sidecar, one: Any) -> None:
    model = scripted()
    graph = govern(one(asking(way, model)), contracts={"n": Contract(tokens=5)}, sidecar=sidecar)

    with pytest.raises(BudgetExceeded):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == model.calls


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_asking_a_model_passes_a_halt(way: str, sidecar: Sidecar, one: Any) -> None:
    model = scripted()
    ask = asking(way, model)

    async def node(state: Any) -> Any:
        sidecar.control._stops.order(STOP)
        result = ask(state)
        return await result if asyncio.iscoroutine(result) else result

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Halted):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == model.calls


class Own(BaseChatModel):
    """A model that answers by itself wherever it can."""

    asked: list[str] = []  # noqa: RUF012 - a pydantic field

    @property
    def _llm_type(self) -> str:
        return "own"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.asked.append("generate")
        return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])


class OwnInvoke(Own):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        self.asked.append("invoke")
        return AIMessage("fine")

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return self.invoke(input)


class OwnStream(Own):
    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        self.asked.append("stream")
        yield AIMessageChunk("fine")

    async def astream(self, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        self.asked.append("stream")
        yield AIMessageChunk("fine")

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.asked.append("_stream")
        yield ChatGenerationChunk(message=AIMessageChunk("fine"))


class OwnGenerate(Own):
    def generate(self, messages: Any, *args: Any, **kwargs: Any) -> LLMResult:
        self.asked.append("generate")
        return LLMResult(generations=[[ChatGeneration(message=AIMessage("fine"))]])

    async def agenerate(self, messages: Any, *args: Any, **kwargs: Any) -> LLMResult:
        return self.generate(messages)


@pytest.mark.parametrize("kind", [Own, OwnInvoke, OwnStream, OwnGenerate])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "generate", "agenerate"])
def test_a_model_that_brings_its_own_entry_is_inside(way: str, kind: Any, sidecar: Sidecar, one: Any) -> None:
    model = kind(asked=[])
    graph = govern(one(asking(way, model)), contracts={"n": Contract(tokens=5)}, sidecar=sidecar)

    with pytest.raises(BudgetExceeded):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == model.asked


class Completing(BaseLLM):
    """A completion model, of the older kind."""

    asked: list[str] = []  # noqa: RUF012 - a pydantic field

    @property
    def _llm_type(self) -> str:
        return "completing"

    def _generate(self, prompts: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> LLMResult:
        self.asked.append("generate")
        return LLMResult(generations=[[Generation(text="fine")]])

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        self.asked.append("stream")
        yield GenerationChunk(text="fine")


COMPLETIONS = {
    "invoke": lambda m: m.invoke("hi"),
    "stream": lambda m: list(m.stream("hi")),
    "generate": lambda m: m.generate(["hi"]),
    "batch": lambda m: m.batch(["hi"]),
    "ainvoke": lambda m: asyncio.run(m.ainvoke("hi")),
    "astream": lambda m: asyncio.run(drained(m.astream("hi"))),
}


@pytest.mark.parametrize("way", list(COMPLETIONS))
def test_a_completion_model_is_inside_in_every_way(way: str, sidecar: Sidecar, one: Any) -> None:
    model = Completing(asked=[])
    graph = govern(
        one(lambda s: {"out": str(COMPLETIONS[way](model))}), contracts={"n": Contract(tokens=5)}, sidecar=sidecar
    )

    with pytest.raises(BudgetExceeded):
        graph.invoke({"out": ""})

    assert [] == model.asked


def test_an_answer_from_a_cache_is_on_record_too(sidecar: Sidecar, one: Any, rows: Any) -> None:
    model = ScriptedChatModel(["fine"], cache=InMemoryCache())
    node = lambda s: {"out": str([model.invoke("hi").content, model.invoke("hi").content])}
    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)

    graph.invoke({"out": ""})

    assert 2 == sum(row.kind == "model.ended" for row in rows())


@pytest.mark.filterwarnings("ignore:The method")
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_no_stream_of_model_events_passes_the_budget(mode: str, sidecar: Sidecar, one: Any) -> None:
    """Version 3 of the events goes another way through LangChain than every other stream."""
    model = scripted()

    async def anode(state: Any) -> Any:
        return {"out": str(await drained(await model.astream_events("hi", version="v3")))}  # type: ignore[misc]

    def node(state: Any) -> Any:
        return {"out": str(list(model.stream_events("hi", version="v3")))}

    graph = govern(one(node if mode == "sync" else anode), contracts={"n": Contract(tokens=5)}, sidecar=sidecar)

    with pytest.raises(Refusal):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == model.calls


# ---- budgets under concurrency and broken streams ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["threads", "tasks"])
def test_fifty_calls_at_once_never_overspend(mode: str, sidecar: Sidecar, one: Any, thread: Any) -> None:
    model = ScriptedChatModel(["fine"] * 50)
    policy = Policy(budget=BudgetPolicy(session_tokens=1000, answer_tokens=90))
    failures: list[Exception] = []
    peak: list[int] = []
    session: list[Any] = []

    def ask() -> None:
        try:
            model.invoke("hi", max_tokens=90)
        except GovernanceError as error:
            failures.append(error)
        peak.append(session[0].tokens)

    async def node(state: Any) -> Any:
        session.append(sidecar.sessions.get("t"))
        if mode == "tasks":
            await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(50)))
        else:
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda _: ask(), range(50)))

    graph = govern(one(node), contracts={"n": Contract()}, policy=policy, sidecar=sidecar)
    try:
        asyncio.run(graph.ainvoke({"out": ""}, thread))
    except BudgetExceeded:
        pass

    assert max(peak) <= 1000


def abandon(model: Any) -> None:
    for _ in model.stream("hi"):
        break


async def aabandon(model: Any) -> None:
    async for _ in model.astream("hi"):
        break


async def cancel(model: Any) -> None:
    running = asyncio.create_task(model.ainvoke("hi"))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("way", ["stream", "astream", "failed"])
def test_a_call_that_ends_badly_is_paid_here_and_after_a_restart(
    way: str, sidecar: Sidecar, one: Any, thread: Any
) -> None:
    """Nobody knows what a broken call cost, so what was reserved counts: in memory and on the record."""
    model = ScriptedChatModel([RuntimeError("cut") if way == "failed" else "a b c d e"])

    async def node(state: Any) -> Any:
        try:
            if way == "stream":
                abandon(model)
            elif way == "astream":
                await aabandon(model)
                await asyncio.sleep(0.01)
            else:
                model.invoke("hi")
        except RuntimeError:
            pass
        return {"out": "done"}

    policy = Policy(budget=BudgetPolicy(session_tokens=100_000, answer_tokens=500))
    graph = govern(one(node), contracts={"n": Contract()}, policy=policy, sidecar=sidecar)
    asyncio.run(graph.ainvoke({"out": ""}, thread))
    sidecar.ledger.flush()
    head = sidecar.ledger.head("t")

    assert 500 <= sidecar.sessions.get("t").tokens
    assert head is not None and head.tokens == sidecar.sessions.get("t").tokens


def test_a_budget_is_not_reset_by_a_restart(sidecar: Sidecar, one: Any, thread: Any, tmp_path: Any) -> None:
    policy = Policy(budget=BudgetPolicy(session_tokens=200, answer_tokens=100))

    def build(used: Sidecar) -> Any:
        def ask(state: Any) -> Any:
            return {"out": str(ScriptedChatModel(["word " * 90]).invoke("hi").content)[:3]}

        return govern(one(ask), contracts={"n": Contract()}, policy=policy, sidecar=used)

    build(sidecar).invoke({"out": ""}, thread)
    sidecar.close()
    again = Sidecar(ledger=sidecar.ledger.path)

    with pytest.raises(BudgetExceeded):
        for _ in range(2):
            build(again).invoke({"out": ""}, thread)
    again.close()


def test_a_stop_counts_from_the_next_call_on(sidecar: Sidecar, one: Any) -> None:
    model = ScriptedChatModel(["one", "two"])
    stops, stopped = threading.Event(), threading.Event()

    def operator_elsewhere() -> None:
        stops.wait(5)
        sidecar.control.stop("agent", "n", reason="enough", by="alice")
        stopped.set()

    threading.Thread(target=operator_elsewhere, daemon=True).start()

    def patient(state: Any) -> Any:
        model.invoke("hi")
        stops.set()
        stopped.wait(5)
        model.invoke("hi")

    graph = govern(one(patient), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Halted, match="alice"):
        graph.invoke({"out": ""})

    assert 1 == len(model.calls)
