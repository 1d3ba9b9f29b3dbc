"""The chain around a stream: pieces pass as they come, and whoever breaks off ends what is inside first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langgraph.errors import GraphInterrupt

from governance import streams
from governance.call import Proceed
from governance.chain import Chain
from tests.governance.chains import Log, filter_of


class Pieces:
    """A producer of three pieces that notes when it is closed."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def __call__(self, call: Any) -> Iterator[str]:
        try:
            yield from "xyz"
        finally:
            self.log.append("produced")

    async def aiter(self, call: Any) -> AsyncIterator[str]:
        try:
            for piece in "xyz":
                yield piece
        finally:
            self.log.append("produced")


def test_pieces_pass_as_they_come_and_the_filters_see_their_sum() -> None:
    log: Log = []
    seen: list[Any] = []

    def watching(call: Any) -> Any:
        seen.append((yield Proceed(call)))
        return seen[-1]

    pieces = list(streams.stream(Chain([watching], "c"), Pieces(log), "".join))  # type: ignore[arg-type]

    assert ["x", "y", "z"] == pieces
    assert ["xyz"] == seen


def test_a_chain_that_answers_without_proceeding_streams_its_answer() -> None:
    """A recorded or substituted answer reaches a streaming caller too, in one piece."""
    made = Chain([filter_of("short", "a", [])], "c")  # type: ignore[arg-type]

    assert ["a answers"] == list(streams.stream(made, Pieces([]), "".join))


def test_a_consumer_that_breaks_off_a_stream_ends_producer_and_filters() -> None:
    log: Log = []
    pieces = streams.stream(Chain([filter_of("hold", "a", log)], "c"), Pieces(log), "".join)  # type: ignore[arg-type]
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]

    assert ["produced", "a saw GeneratorExit", "leave a", "release aa", "release a"] == log[3:]


def test_an_async_consumer_that_breaks_off_a_stream_ends_producer_and_filters() -> None:
    """The connection of a model is closed before what was reserved for it is settled."""
    log: Log = []

    async def work() -> None:
        made = Chain([filter_of("hold", "a", log)], "c")  # type: ignore[arg-type]
        pieces = streams.astream(made, Pieces(log).aiter, "".join)
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]

    asyncio.run(work())

    assert ["produced", "a saw GeneratorExit", "leave a", "release aa", "release a"] == log[3:]


@pytest.mark.parametrize("error", [ValueError("half way"), GraphInterrupt(())])
def test_a_stream_that_fails_half_way_settles_what_was_held(error: Exception) -> None:
    log: Log = []

    def produce(call: Any) -> Iterator[str]:
        yield "x"
        raise error

    made = Chain([filter_of("hold", "a", log)], "c")  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        list(streams.stream(made, produce, "".join))

    assert ["release aa", "release a"] == log[-2:]
