"""Drive a chain around a stream: pieces pass as they come, and the filters see what they make together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial
from typing import Any

from langgraph.errors import GraphBubbleUp

from governance.chain import Chain
from governance.current import setting
from governance.deadlines import abounded_pieces, bounded_pieces
from governance.drivers import Step, aadvance, advance, closing_on_error

END_OF_STREAM = object()


def setting_each(name: ContextVar[Any], value: Any, pieces: Iterator[Any]) -> Iterator[Any]:
    """A stream whose pieces are fetched with a context variable set, and handed on without it."""
    while True:
        with setting(name, value):
            piece = next(pieces, END_OF_STREAM)
        if piece is END_OF_STREAM:
            return
        yield piece


async def asetting_each(name: ContextVar[Any], value: Any, pieces: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """`setting_each` for async code; a consumer that goes away ends the stream."""
    fetched = pieces.__aiter__()
    try:
        while True:
            with setting(name, value):
                piece = await anext(fetched, END_OF_STREAM)
            if piece is END_OF_STREAM:
                return
            yield piece
    finally:
        if isinstance(fetched, AsyncGenerator):
            await fetched.aclose()


def stream(chain: Chain, produce: Callable[[Any], Iterator[Any]], fold: Callable[[list[Any]], Any]) -> Iterator[Any]:
    """Drive a chain around a stream: pieces pass as they come, `fold` makes the result of them."""
    step: Step = chain.start
    passed = False
    with closing_on_error(chain):
        while (proceed := advance(chain, step)) is not None:
            pieces: list[Any] = []
            try:
                for piece in bounded_pieces(proceed, produce(proceed.call)):
                    pieces.append(piece)
                    passed = True
                    yield piece
                step = partial(chain.send, fold(pieces))
            except GraphBubbleUp:
                raise
            except Exception as error:
                step = partial(chain.throw, error)
        if not passed:
            yield chain.result


async def astream(
    chain: Chain, produce: Callable[[Any], AsyncGenerator[Any, None]], fold: Callable[[list[Any]], Any]
) -> AsyncIterator[Any]:
    """`stream` for async code; a consumer that goes away ends the producer before the filters."""
    step: Step = chain.start
    passed = False
    with closing_on_error(chain):
        while (proceed := await aadvance(chain, step)) is not None:
            pieces: list[Any] = []
            try:
                async with aclosing(abounded_pieces(proceed, produce(proceed.call))) as produced:
                    async for piece in produced:
                        pieces.append(piece)
                        passed = True
                        yield piece
                step = partial(chain.send, fold(pieces))
            except GraphBubbleUp:
                raise
            except Exception as error:
                step = partial(chain.throw, error)
        if not passed:
            yield chain.result
