"""Perform in sync and in async code what a chain asks for: to its end, or to where other code has to run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphBubbleUp

from governance.call import Effect, Proceed, Run, Sleep
from governance.deadlines import abounded, bounded

if TYPE_CHECKING:
    from governance.chain import Chain


class Stopped(Exception):
    """Carries a `StopIteration` through generators, which would turn it into a `RuntimeError`."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(original)
        self.original = original


def carry_out(effect: Effect) -> Any:
    """Sleep, or do blocking work where it is."""
    if isinstance(effect, Sleep):
        return time.sleep(effect.seconds)
    if isinstance(effect, Run):
        return effect.work()
    raise TypeError(f"a filter yielded {effect!r}; expected Proceed, Sleep, Hold or Run")


async def acarry_out(effect: Effect) -> Any:
    """Sleep, or do blocking work off the event loop."""
    if isinstance(effect, Sleep):
        return await asyncio.sleep(effect.seconds)
    if isinstance(effect, Run):
        return await (effect.awork() if effect.awork else asyncio.to_thread(effect.work))
    raise TypeError(f"a filter yielded {effect!r}; expected Proceed, Sleep, Hold or Run")


def drive(chain: Chain, perform: Callable[[Any], Any]) -> Any:
    """Perform in sync code what a chain asks for."""
    try:
        effect = chain.start()
        while effect is not None:
            try:
                if type(effect) is Proceed:
                    value = perform(effect.call) if effect.within is None else bounded(effect, perform)
                else:
                    value = carry_out(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(Stopped(error) if isinstance(error, StopIteration) else error)
            else:
                effect = chain.send(value)
        return chain.result
    except BaseException as error:
        chain.close(error)
        raise


async def adrive(chain: Chain, perform: Callable[[Any], Awaitable[Any]]) -> Any:
    """Perform in async code what a chain asks for."""
    try:
        effect = chain.start()
        while effect is not None:
            try:
                if type(effect) is Proceed:
                    value = await (perform(effect.call) if effect.within is None else abounded(effect, perform))
                else:
                    value = await acarry_out(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(error)
            else:
                effect = chain.send(value)
        return chain.result
    except BaseException as error:
        chain.close(error)
        raise


def advance(chain: Chain, step: Callable[[], Effect | None]) -> Proceed | None:
    """Take a step with a chain and do what it asks for, until the code it stands around has to run; None at its end."""
    try:
        effect = step()
        while effect is not None and not isinstance(effect, Proceed):
            try:
                value = carry_out(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(error)
            else:
                effect = chain.send(value)
        return effect
    except BaseException as error:
        chain.close(error)
        raise


async def aadvance(chain: Chain, step: Callable[[], Effect | None]) -> Proceed | None:
    """`advance` for async code."""
    try:
        effect = step()
        while effect is not None and not isinstance(effect, Proceed):
            try:
                value = await acarry_out(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(error)
            else:
                effect = chain.send(value)
        return effect
    except BaseException as error:
        chain.close(error)
        raise
