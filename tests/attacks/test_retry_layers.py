"""Every layer that people put around a call to try it again: what reaches a real server is the configured number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware, ToolRetryMiddleware
from langchain_core.tools import BaseTool, StructuredTool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy
from pydantic import SecretStr

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.testing.models import ScriptedChatModel
from governance.testing.server import FaultyServer, status
from tests.fixtures import calling

ALWAYS = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False, retry_on=lambda error: True)
ASKED: Any = {"messages": [("user", "hello")]}
HOW = pytest.mark.parametrize("how", ["sync", "async"])


@pytest.fixture
def sent(tmp_path: Path, sidecar: Sidecar) -> Callable[..., int]:
    """How many requests one run of a graph sends to a server that never works."""

    def count(make: Callable[[FaultyServer], Any], how: str, attempts: int = 3) -> int:
        path = tmp_path / "sidecar.toml"
        path.write_text(f"[retries]\nattempts = {attempts}\nwait = 0.001\nburst = 999\n")
        with FaultyServer(always=status(503, retry_after=0.001)) as server:
            graph = make(server)
            govern(graph, contracts={"*": Contract(tools=["look"])}, policy=path, sidecar=sidecar)
            try:
                graph.invoke(ASKED) if how == "sync" else asyncio.run(graph.ainvoke(ASKED))
            except Exception:
                pass
            return len(server.requests)

    return count


def model_at(server: FaultyServer, name: str = "m") -> ChatOpenAI:
    """With the retries that its client makes by itself, which are two."""
    return ChatOpenAI(model=name, base_url=server.base_url, api_key=SecretStr("none"))


def around(inner: Any) -> Any:
    """A graph whose only node is `inner`, and is retried; a graph again where that is one."""
    return StateGraph(MessagesState).add_node("n", inner, retry_policy=ALWAYS).add_edge(START, "n").compile()


def node_of(ask: Callable[[], Any], aask: Callable[[], Any]) -> Callable[[str], Any]:
    async def anode(state: Any) -> Any:
        return {"messages": [await aask()]}

    return lambda how: around(around(anode if how == "async" else lambda state: {"messages": [ask()]}))


def look_at(server: FaultyServer, effect: SideEffect | None) -> BaseTool:
    """A tool that asks the server, in sync and async code."""

    def look(word: str) -> str:
        return str(httpx.post(server.base_url).raise_for_status())

    async def alook(word: str) -> str:
        async with httpx.AsyncClient() as client:
            return str((await client.post(server.base_url)).raise_for_status())

    made = StructuredTool.from_function(look, coroutine=alook, name="look", description="Looks.")
    return made if effect is None else declares(effect)(made)


@HOW
@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_a_model_under_a_middleware_two_nodes_and_its_client(attempts: int, how: str, sent: Any) -> None:
    """Today's normal is 81."""

    def graph(server: FaultyServer) -> Any:
        middleware: Any = [ModelRetryMiddleware(max_retries=2, initial_delay=0, jitter=False, on_failure="error")]
        return around(around(create_agent(model_at(server), [], middleware=middleware)))

    assert attempts == sent(graph, how, attempts)


@HOW
@pytest.mark.parametrize("effect", [SideEffect("read"), SideEffect("write", idempotent=True), None])
@pytest.mark.parametrize("ends", ["error", "continue"])
def test_a_tool_under_both_middlewares_and_two_nodes(ends: Any, effect: SideEffect | None, how: str, sent: Any) -> None:
    def graph(server: FaultyServer) -> Any:
        model = ScriptedChatModel([calling(("look", {"word": "tea"})), "done"] * 50)
        middleware: Any = [
            ModelRetryMiddleware(max_retries=2, initial_delay=0, jitter=False),
            ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False, on_failure=ends),
        ]
        return around(around(create_agent(model, [look_at(server, effect)], middleware=middleware)))

    assert 3 == sent(graph, how)


@HOW
def test_an_effect_under_all_of_them_is_tried_once(how: str, sent: Any) -> None:
    def graph(server: FaultyServer) -> Any:
        model = ScriptedChatModel([calling(("look", {"word": "tea"})), "done"] * 50)
        middleware: Any = [ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False, on_failure="error")]
        tool = look_at(server, SideEffect("write"))
        return around(around(create_agent(model, [tool], middleware=middleware)))

    assert 1 == sent(graph, how)


@HOW
def test_a_fallback_is_another_dependency_with_tries_of_its_own(how: str, sent: Any) -> None:
    """Both models and no more, whoever tries the pair of them again."""

    def graph(server: FaultyServer) -> Any:
        middleware: Any = [
            ModelRetryMiddleware(max_retries=2, initial_delay=0, jitter=False, on_failure="error"),
            ModelFallbackMiddleware(model_at(server, "other")),
        ]
        return around(around(create_agent(model_at(server), [], middleware=middleware)))

    assert 2 * 3 == sent(graph, how)


@HOW
def test_lcels_own_retries(how: str, sent: Any) -> None:
    def graph(server: FaultyServer) -> Any:
        model = model_at(server).with_retry(stop_after_attempt=4, wait_exponential_jitter=False)
        return node_of(lambda: model.invoke("hi"), lambda: model.ainvoke("hi"))(how)

    assert 3 == sent(graph, how)


@HOW
def test_lcels_own_fallbacks(how: str, sent: Any) -> None:
    def graph(server: FaultyServer) -> Any:
        model = model_at(server).with_fallbacks([model_at(server, "other"), model_at(server)])
        return node_of(lambda: model.invoke("hi"), lambda: model.ainvoke("hi"))(how)

    assert 2 * 3 == sent(graph, how)  # the third is the first again: it has had its tries


@HOW
def test_tenacity_in_the_node(how: str, sent: Any) -> None:
    again: Any = {"stop": tenacity.stop_after_attempt(5), "reraise": True}

    def graph(server: FaultyServer) -> Any:
        model = model_at(server)

        @tenacity.retry(**again)
        def ask() -> Any:
            return model.invoke("hi")

        @tenacity.retry(**again)
        async def aask() -> Any:
            return await model.ainvoke("hi")

        return node_of(ask, aask)(how)

    assert 3 == sent(graph, how)


@HOW
def test_a_batch_is_one_request_for_each_question(how: str, sent: Any) -> None:
    """Each of them has its tries; the layers above add none."""

    def graph(server: FaultyServer) -> Any:
        model = model_at(server)

        def ask() -> Any:
            return model.batch(["a", "b"], return_exceptions=False)[0]

        async def aask() -> Any:
            return (await model.abatch(["a", "b"], return_exceptions=False))[0]

        return node_of(ask, aask)(how)

    assert sent(graph, how) <= 2 * 3


@HOW
def test_a_structured_answer_that_is_parsed_by_the_client(how: str, sent: Any) -> None:
    """Its request goes another way through the client."""

    def graph(server: FaultyServer) -> Any:
        schema = {"title": "Answer", "type": "object", "properties": {"word": {"type": "string"}}}
        model = model_at(server).with_structured_output(schema, method="json_schema")
        return node_of(lambda: model.invoke("hi"), lambda: model.ainvoke("hi"))(how)

    assert 3 == sent(graph, how)


@HOW
@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_graph_whose_events_are_watched(version: Any, how: str, sent: Any) -> None:
    """A watched model is streamed."""

    def graph(server: FaultyServer) -> Any:
        model = model_at(server)
        inner = node_of(lambda: model.invoke("hi"), lambda: model.ainvoke("hi"))(how)

        async def watched(state: Any) -> Any:
            events = inner.astream_events(ASKED, version=version)
            async for _ in events if version == "v2" else await events:
                pass

        return around(watched) if how == "async" else inner

    assert 3 == sent(graph, how)
