"""Perform in sync and in async code what a chain asks for: to its end, or to where other code has to run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
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


Step = Callable[[], Effect | None]


def answered(chain: Chain, work: Callable[[Any], Any], given: Any) -> Step:
    """Do what a chain asks for; the step that hands in what came of it. What is not for filters is raised."""
    try:
        return partial(chain.send, work(given))
    except GraphBubbleUp:
        raise
    except Exception as error:
        return partial(chain.throw, Stopped(error) if isinstance(error, StopIteration) else error)


async def aanswered(chain: Chain, work: Callable[[Any], Awaitable[Any]], given: Any) -> Step:
    """`answered` for async code."""
    try:
        return partial(chain.send, await work(given))
    except GraphBubbleUp:
        raise
    except Exception as error:
        return partial(chain.throw, error)


def advance(chain: Chain, step: Step) -> Proceed | None:
    """Take steps with a chain until the code it stands around has to run; None at its end."""
    effect = step()
    while effect is not None and not isinstance(effect, Proceed):
        effect = answered(chain, carry_out, effect)()
    return effect


async def aadvance(chain: Chain, step: Step) -> Proceed | None:
    """`advance` for async code."""
    effect = step()
    while effect is not None and not isinstance(effect, Proceed):
        effect = (await aanswered(chain, acarry_out, effect))()
    return effect


def drive(chain: Chain, perform: Callable[[Any], Any]) -> Any:
    """Perform in sync code what a chain asks for."""
    with closing_on_error(chain):
        step: Step = chain.start
        while (proceed := advance(chain, step)) is not None:
            if proceed.within is None:
                step = answered(chain, perform, proceed.call)
            else:
                step = answered(chain, partial(bounded, perform=perform), proceed)
        return chain.result


async def adrive(chain: Chain, perform: Callable[[Any], Awaitable[Any]]) -> Any:
    """Perform in async code what a chain asks for."""
    with closing_on_error(chain):
        step: Step = chain.start
        while (proceed := await aadvance(chain, step)) is not None:
            if proceed.within is None:
                step = await aanswered(chain, perform, proceed.call)
            else:
                step = await aanswered(chain, partial(abounded, perform=perform), proceed)
        return chain.result


class closing_on_error:
    """Whatever ends a chain before its time ends its filters, from the inside out."""

    __slots__ = ("chain",)

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            self.chain.close(error)
