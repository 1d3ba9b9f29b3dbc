"""Answers reach the callers that they were recorded for, under threads and event loops."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from governance.testing.cassettes import (
    recording,
    replaying,
)
from governance.testing.server import FaultyServer, depending, ok, slow

ELSEWHERE = "http://elsewhere.invalid/v1"


def echo(body: dict[str, Any]) -> Any:
    return ok(f"heard {body['messages'][-1]['content']}")


def numbered() -> Any:
    """Answers that all differ, whatever is asked."""
    count = iter(range(1000))
    return depending(lambda body: ok(f"answer {next(count)}"))


@pytest.mark.asyncio
async def test_ten_concurrent_calls_that_finished_in_another_order_replay_to_their_callers(
    tape: Path, model: Any
) -> None:
    """Each caller gets the answer to its own question, whoever was answered first."""

    def backwards(body: dict[str, Any]) -> Any:
        return slow(0.2 - int(body["messages"][-1]["content"]) * 0.02, echo(body))

    async def run(base_url: str) -> list[str]:
        client = model(base_url)
        return [answer.content for answer in await asyncio.gather(*(client.ainvoke(str(n)) for n in range(10)))]

    with FaultyServer(always=depending(backwards)) as server, recording(tape):
        recorded = await run(server.base_url)
    with replaying(tape):
        replayed = await run(ELSEWHERE)

    assert [f"heard {n}" for n in range(10)] == recorded == replayed


@pytest.mark.asyncio
async def test_identical_concurrent_calls_of_one_loop_keep_the_order_of_asking(tape: Path) -> None:
    """Without a key, tasks that ask in the same order get their own answers, whoever finished first."""

    async def run(base_url: str) -> list[str]:
        url, body = f"{base_url}/chat/completions", {"messages": []}
        async with httpx.AsyncClient() as client:
            return [answer.text for answer in await asyncio.gather(*(client.post(url, json=body) for _ in "abc"))]

    script = [slow(0.3, ok("first")), slow(0.15, ok("second")), ok("third")]
    with (
        FaultyServer(*script) as server,
        pytest.warns(UserWarning, match="identical requests"),
        recording(tape),
    ):
        recorded = await run(server.base_url)
    with replaying(tape):
        assert recorded == await run(ELSEWHERE)


def test_identical_bodies_from_eight_threads_replay_to_the_right_thread(tape: Path, model: Any) -> None:
    """A header names the caller where everything else is equal."""
    barrier = threading.Barrier(8)

    def ask(base_url: str, worker: int) -> list[str]:
        client = model(base_url)
        barrier.wait()
        headers = {"x-cassette-key": f"worker-{worker}"}
        return [client.invoke("same", extra_headers=headers).content for _ in range(3)]

    def run(base_url: str) -> list[list[str]]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda worker: ask(base_url, worker), range(8)))

    with FaultyServer(always=numbered()) as server, recording(tape):
        recorded = run(server.base_url)
    with replaying(tape):
        assert recorded == run(ELSEWHERE)


@pytest.mark.asyncio
async def test_a_function_can_name_the_caller(tape: Path, model: Any) -> None:
    """A context variable, as the place of a governed call is, tells identical requests apart."""
    place: contextvars.ContextVar[str] = contextvars.ContextVar("place")

    async def ask(client: Any, name: str) -> str:
        place.set(name)
        return str((await client.ainvoke("same")).content)

    async def run(base_url: str, names: list[str]) -> dict[str, str]:
        client = model(base_url)
        return dict(zip(names, await asyncio.gather(*(ask(client, name) for name in names)), strict=True))

    names = ["a", "b", "c", "d"]
    with FaultyServer(always=numbered()) as server, recording(tape, key=lambda _: place.get()):
        recorded = await run(server.base_url, names)
    with replaying(tape, key=lambda _: place.get()):
        assert recorded == await run(ELSEWHERE, names[::-1])


def test_each_recording_is_played_exactly_once_under_threads(tape: Path, model: Any) -> None:
    """Of 100 identical requests from 16 threads no answer is played twice and none is left."""
    with FaultyServer(always=numbered()) as server, recording(tape):
        client = model(server.base_url)
        recorded = [client.invoke("same").content for _ in range(100)]
    with replaying(tape) as player, ThreadPoolExecutor(16) as pool:
        client = model(ELSEWHERE)
        replayed = list(pool.map(lambda _: client.invoke("same").content, range(100)))

    assert sorted(recorded) == sorted(replayed)
    assert [] == player.unused


def test_several_event_loops_record_into_one_cassette(tape: Path, model: Any) -> None:
    """Cached HTTP clients of an earlier loop are forgotten between recordings."""
    for _ in range(2):
        with FaultyServer(ok("yes")) as server, recording(tape):
            answer = asyncio.run(model(server.base_url).ainvoke("ready?"))

        assert "yes" == answer.content
