"""Drive a chain around a stream: pieces pass as they come, and the filters see what they make together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

from langgraph.errors import GraphBubbleUp

from governance.call import Proceed
from governance.chain import Chain
from governance.drivers import acarry_out, carry_out


def stream(chain: Chain, produce: Callable[[Any], Iterator[Any]], fold: Callable[[list[Any]], Any]) -> Iterator[Any]:
    """Drive a chain around a stream: pieces pass as they come, `fold` makes the result of them."""
    try:
        effect, passed = chain.start(), False
        while effect is not None:
            pieces: list[Any] = []
            try:
                if type(effect) is Proceed:
                    for piece in produce(effect.call):
                        pieces.append(piece)
                        passed = True
                        yield piece
                    value = fold(pieces)
                else:
                    value = carry_out(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(error)
            else:
                effect = chain.send(value)
        if not passed:
            yield chain.result
    except BaseException as error:
        chain.close(error)
        raise


async def astream(
    chain: Chain, produce: Callable[[Any], AsyncGenerator[Any, None]], fold: Callable[[list[Any]], Any]
) -> AsyncIterator[Any]:
    """`stream` for async code; a consumer that goes away ends the producer before the filters."""
    try:
        effect, passed = chain.start(), False
        while effect is not None:
            pieces: list[Any] = []
            try:
                if type(effect) is Proceed:
                    async with aclosing(produce(effect.call)) as produced:
                        async for piece in produced:
                            pieces.append(piece)
                            passed = True
                            yield piece
                    value = fold(pieces)
                else:
                    value = await acarry_out(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(error)
            else:
                effect = chain.send(value)
        if not passed:
            yield chain.result
    except BaseException as error:
        chain.close(error)
        raise
