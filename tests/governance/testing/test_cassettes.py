"""Recording a conversation with a real server on loopback, and replaying it without."""

from __future__ import annotations

import gzip
import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from governance.testing.cassettes import (
    NetworkBlocked,
    recording,
    replaying,
)
from governance.testing.server import FaultyServer, ok, status

ELSEWHERE = "http://elsewhere.invalid/v1"


def test_an_answer_replays_without_its_server(tape: Path, model: Any) -> None:
    """The same answer comes from the file, under another base URL and with the server gone."""
    with FaultyServer(ok("Berlin")) as server, recording(tape):
        recorded = model(server.base_url).invoke("capital of Germany?")
    with replaying(tape):
        replayed = model(ELSEWHERE).invoke("capital of Germany?")

    assert (recorded.content, recorded.usage_metadata) == (replayed.content, replayed.usage_metadata)


def test_a_stream_replays_chunk_by_chunk(tape: Path, model: Any) -> None:
    """Server-sent events come back byte for byte, so the chunks are the same."""
    with FaultyServer(ok("one two three")) as server, recording(tape):
        recorded = [chunk.content for chunk in model(server.base_url).stream("count")]
    with replaying(tape):
        replayed = [chunk.content for chunk in model(ELSEWHERE).stream("count")]

    assert recorded == replayed
    assert "one two three" == "".join(replayed)


@pytest.mark.asyncio
async def test_async_calls_and_streams_replay(tape: Path, model: Any) -> None:
    """The asynchronous client is answered from the same kind of file."""

    async def run(base_url: str) -> list[str]:
        client = model(base_url)
        answer = await client.ainvoke("a")
        return [answer.content, *[chunk.content async for chunk in client.astream("b")]]

    with FaultyServer(ok("first"), ok("second one")) as server, recording(tape):
        recorded = await run(server.base_url)
    with replaying(tape):
        assert recorded == await run(ELSEWHERE)


def test_errors_and_retries_replay(tape: Path) -> None:
    """A 429 with Retry-After, then an answer: the client's retry runs in the replay too."""
    from langchain_openai import ChatOpenAI

    def run(base_url: str) -> str:
        return str(ChatOpenAI(model="m", base_url=base_url, api_key="none", max_retries=2).invoke("a").content)

    with FaultyServer(status(429, retry_after=0.01), ok("after all")) as server, recording(tape):
        run(server.base_url)
    with replaying(tape):
        assert "after all" == run(ELSEWHERE)


def test_other_clients_are_recorded_too(tape: Path) -> None:
    """urllib and httpx share the cassette with the model's client."""

    def run(base_url: str) -> list[str]:
        request = urllib.request.Request(f"{base_url}/chat/completions", b'{"messages": []}')
        with urllib.request.urlopen(request) as response:
            first = response.read().decode()
        return [first, httpx.post(f"{base_url}/chat/completions", json={"messages": [1]}).text]

    with FaultyServer(ok("one"), ok("two")) as server, recording(tape):
        recorded = run(server.base_url)
    with replaying(tape):
        assert recorded == run(ELSEWHERE)


def test_compressed_answers_are_stored_as_text(tape: Path) -> None:
    """What was sent gzipped can be read in the file, and searched for secrets."""

    class Gzipped(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = gzip.compress(b'{"word": "readable"}')
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-encoding", "gzip")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Gzipped) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with recording(tape):
            httpx.get(f"http://127.0.0.1:{server.server_address[1]}/")
        thread.join()
    with replaying(tape):
        assert {"word": "readable"} == httpx.get("http://elsewhere.invalid/").json()

    assert "word: readable" in tape.read_text()


def test_sockets_are_blocked_while_replaying(tape: Path, model: Any) -> None:
    """Loopback included: a replay proves that no service is needed."""
    with FaultyServer(ok("yes")) as server, recording(tape):
        model(server.base_url).invoke("a")
    with replaying(tape), socket.socket() as client:
        model(ELSEWHERE).invoke("a")
        with pytest.raises(NetworkBlocked, match=r"127\.0\.0\.1"):
            client.connect(("127.0.0.1", 9))


@pytest.mark.parametrize("options", [{"block": False}, {"allow": ["127.0.0.1"]}])
def test_live_services_answer_while_model_calls_replay(tape: Path, model: Any, options: dict[str, Any]) -> None:
    """A demo measures its own services over HTTP and asks the cassette, not a model."""
    with FaultyServer(ok("restart it")) as server, recording(tape):
        model(server.base_url).invoke("what now?")
    with FaultyServer(status(503), ok()) as service, replaying(tape, **options):
        health = httpx.get(service.base_url.replace("/v1", "/health"))
        answer = model(service.base_url).invoke("what now?")

    assert (503, "restart it") == (health.status_code, answer.content)
    assert ["GET"] == [request.method for request in service.requests]


def test_live_services_are_left_out_of_a_recording(tape: Path, model: Any) -> None:
    """Model calls to an allowed host are recorded, its other requests are not."""
    with FaultyServer(status(503), ok("restart it")) as server, recording(tape, allow=["localhost"]):
        httpx.get(server.base_url.replace("/v1", "/health"))
        model(server.base_url).invoke("what now?")
    with replaying(tape) as player:
        model(ELSEWHERE).invoke("what now?")

    assert 1 == len(player.data)


def test_the_player_knows_a_base_url_that_matches(tape: Path, model: Any) -> None:
    """A demo gives it to its client, and needs to know nothing of the recording."""
    with FaultyServer(ok("yes")) as server, recording(tape):
        model(server.base_url).invoke("a")
    with replaying(tape) as player:
        assert "yes" == model(player.base_url).invoke("a").content
