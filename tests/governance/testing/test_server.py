"""The faulty server, seen by the clients that it is made for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from langchain_core.tools import tool

from governance.testing.server import (
    FaultyServer,
    ToolCall,
    cut_stream,
    depending,
    malformed_json,
    ok,
    slow,
    status,
    timeout,
)


@tool
def restart(service: str) -> str:
    """Restart a service."""
    return service


def threads(port: int) -> list[str]:
    """Of the server at this port alone: tests of other files may keep theirs for the session."""
    return [thread.name for thread in threading.enumerate() if thread.name.endswith(f":{port}")]


def test_it_answers_like_a_model(faulty_server: FaultyServer, model: Any) -> None:
    """Text, usage and the name of the model arrive through a real client."""
    faulty_server.script(ok("hello"))
    answer = model(faulty_server.base_url).invoke("hi")

    assert ("hello", "m") == (answer.content, answer.response_metadata["model_name"])
    assert answer.usage_metadata["total_tokens"] > 0


def test_it_calls_tools_whole_and_streamed(faulty_server: FaultyServer, model: Any) -> None:
    """Tool calls arrive either way."""
    faulty_server.script(always=ok(tool_calls=[ToolCall("restart", {"service": "api"})]))
    client = model(faulty_server.base_url).bind_tools([restart])
    whole = client.invoke("do it")
    chunks = list(client.stream("do it"))
    streamed = sum(chunks[1:], chunks[0])

    assert [{"service": "api"}] == [call["args"] for call in whole.tool_calls]
    assert whole.tool_calls == streamed.tool_calls


def test_it_streams_word_by_word(faulty_server: FaultyServer, model: Any) -> None:
    """With usage at the end where the client asks for it."""
    faulty_server.script(ok("one two three"))
    chunks = list(model(faulty_server.base_url).stream("count", stream_usage=True))

    assert ["one ", "two ", "three"] == [chunk.content for chunk in chunks if chunk.content]
    assert any(chunk.usage_metadata for chunk in chunks)


def test_a_status_carries_retry_after(faulty_server: FaultyServer, model: Any) -> None:
    """The client sees the header and the code."""
    faulty_server.script(status(429, retry_after=7))
    with pytest.raises(openai.RateLimitError) as error:
        model(faulty_server.base_url).invoke("a")

    assert "7" == error.value.response.headers["retry-after"]


def test_a_server_error_is_one(faulty_server: FaultyServer, model: Any) -> None:
    """500 is what clients retry."""
    faulty_server.script(status(500))
    with pytest.raises(openai.InternalServerError):
        model(faulty_server.base_url).invoke("a")


def test_a_timeout_holds_the_request_until_it_is_released(faulty_server: FaultyServer, model: Any) -> None:
    """Nothing comes back before; then the connection breaks."""
    faulty_server.script(timeout())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(model(faulty_server.base_url).invoke, "a")
        faulty_server.wait_for(1)

        assert not waiting.done()
        faulty_server.release()
        with pytest.raises(openai.APIConnectionError):
            waiting.result()


def test_a_client_gives_up_on_a_timeout(faulty_server: FaultyServer, model: Any) -> None:
    """The client's own deadline is what ends the wait."""
    faulty_server.script(timeout())
    with pytest.raises(openai.APITimeoutError):
        model(faulty_server.base_url).bind(timeout=0.1).invoke("a")


def test_a_slow_answer_arrives(faulty_server: FaultyServer, model: Any) -> None:
    """It can be cut short by the test."""
    faulty_server.script(slow(60, ok("at last")))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(model(faulty_server.base_url).invoke, "a")
        faulty_server.wait_for(1)
        faulty_server.release()

        assert "at last" == waiting.result().content


def test_a_cut_stream_breaks_in_the_middle(faulty_server: FaultyServer, model: Any) -> None:
    """The first words arrive, then an error: the client must not take them for the answer."""
    faulty_server.script(cut_stream("one two three", after=3))
    words = []
    with pytest.raises(openai.APIConnectionError):
        for chunk in model(faulty_server.base_url).stream("count"):
            words.append(chunk.content)

    assert "one two " == "".join(words)


def test_malformed_json_reaches_the_client(faulty_server: FaultyServer, model: Any) -> None:
    """A 200 is no promise."""
    faulty_server.script(malformed_json())
    with pytest.raises(ValueError):
        model(faulty_server.base_url).invoke("a")


def test_requests_are_counted_and_kept(faulty_server: FaultyServer, model: Any) -> None:
    """A test asserts on what arrived: how often, and what was in it."""
    faulty_server.script(always=ok("yes"))
    for question in ("a", "b"):
        model(faulty_server.base_url).invoke(question)

    assert ["a", "b"] == [body["messages"][-1]["content"] for body in faulty_server.bodies]
    assert {"/v1/chat/completions"} == {request.path for request in faulty_server.requests}


def test_an_answer_can_depend_on_the_question(faulty_server: FaultyServer, model: Any) -> None:
    """Concurrent callers need no order of arrival."""
    faulty_server.script(always=depending(lambda body: ok(body["messages"][-1]["content"].upper())))

    assert "ECHO" == model(faulty_server.base_url).invoke("echo").content


def test_the_end_of_the_script_is_said_and_not_retried(faulty_server: FaultyServer) -> None:
    """One request too many is an error of the test, so the client must not try again."""
    client = openai.OpenAI(base_url=faulty_server.base_url, api_key="none", max_retries=2)
    with pytest.raises(openai.BadRequestError, match="request 1 finds the script at its end"):
        client.chat.completions.create(model="m", messages=[])

    assert 1 == len(faulty_server.requests)


def test_closing_does_not_wait_for_held_requests(model: Any) -> None:
    """Held, idle and slow connections are cut; no thread is left."""
    with ThreadPoolExecutor(2) as pool:
        with FaultyServer(timeout(), slow(600, ok())) as server:
            client = model(server.base_url)
            waiting = [pool.submit(client.invoke, "a"), pool.submit(client.invoke, "b")]
            idle = httpx.Client()
            server.wait_for(2)
            server.script(ok())
            idle.post(f"{server.base_url}/chat/completions", json={})
            port = httpx.URL(server.base_url).port or 0
            running = threads(port)
        assert (4, []) == (len(running), threads(port))
        idle.close()
        for held in waiting:
            assert isinstance(held.exception(), openai.APIConnectionError) or held.result()


def test_a_request_that_never_comes_is_reported(faulty_server: FaultyServer) -> None:
    """Waiting for it ends with how many came."""
    with pytest.raises(TimeoutError, match="1 request"):
        faulty_server.wait_for(1, seconds=0.01)


def test_a_server_that_is_not_running_has_no_address() -> None:
    """The message says how to start it."""
    with pytest.raises(RuntimeError, match="with FaultyServer"):
        _ = FaultyServer().base_url
