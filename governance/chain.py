"""Runs a chain of filters around a call: one stack machine, and drivers of a few lines each.

The machine decides what happens next; a driver performs it, plainly or with `await`. Interrupts,
drains and cancellations are never thrown into a filter, where an `except Exception` could swallow
them: the filters are closed instead, from the inside out, and every slot they hold is released.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import aclosing
from types import GeneratorType
from typing import Any

from langgraph.errors import GraphBubbleUp

from governance.call import After, Call, Effect, Filter, Flow, Hold, Proceed, Run, Sleep, Slot
from governance.errors import DeadlineExceeded, Refusal


class _Stopped(Exception):
    """Carries a `StopIteration` through generators, which would turn it into a `RuntimeError`."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(original)
        self.original = original


class Chain:
    """One run through the filters, the first one outermost; single use."""

    __slots__ = ("_filters", "_flows", "_held", "call", "result")

    def __init__(self, filters: Sequence[Filter], call: Call) -> None:
        self._filters = filters
        self._flows: list[tuple[Flow | After, int]] = []
        self._held: list[tuple[int, Slot]] = []
        self.call = call
        self.result: Any = None

    def start(self) -> Effect | None:
        """The first effect to perform, or None when the chain is over (then `result` is set)."""
        return self._advance(Proceed(self.call), None, None)

    def send(self, value: Any) -> Effect | None:
        """Hand in what came of the last effect."""
        return self._advance(None, value, None)

    def throw(self, error: BaseException) -> Effect | None:
        """Hand in the error of the last effect; raises it where no filter handles it."""
        return self._advance(None, None, error)

    def close(self) -> None:
        """End every filter that still runs and release what it holds."""
        if not self._flows:
            return
        flow, _ = self._flows.pop()
        try:
            if not callable(flow):
                flow.close()
        finally:
            try:
                self._release(len(self._flows))
            finally:
                self.close()

    def _advance(self, effect: Effect | None, value: Any, error: BaseException | None) -> Effect | None:
        """Until somebody has to perform something: enter filters that are proceeded to, leave those that end."""
        flows, depth = self._flows, 0
        while True:
            if effect is None:
                if not flows:
                    break
                flow, depth = flows[-1]
                try:
                    if not callable(flow):
                        effect = flow.send(value) if error is None else flow.throw(error)
                    elif error is None:
                        value = flow(value)
                        if type(value) is GeneratorType:  # it has more to ask before it knows
                            flows[-1], value = (value, depth), None
                            continue
                except StopIteration as done:
                    value, error = done.value, None
                except GraphBubbleUp:
                    raise  # the driver closes the filters around this one
                except Exception as raised:
                    value, error = None, raised
                if effect is None:
                    flows.pop()
                    if self._held:
                        self._release(len(flows))
                    continue
            value = error = None
            try:
                if type(effect) is Proceed:
                    self.call = call = effect.call
                    for enter in self._filters[depth:]:
                        depth += 1
                        entered = enter(call)
                        if entered is not None:
                            flows.append((entered, depth))
                            if not callable(entered):
                                break
                    else:
                        return effect
                elif type(effect) is Hold:
                    effect.slot.take()
                    self._held.append((len(flows), effect.slot))
                else:
                    return effect
            except GraphBubbleUp:
                raise
            except Exception as raised:
                error = raised
            effect = None
        if error is not None:
            raise error.original if isinstance(error, _Stopped) else error
        self.result = value
        return None

    def _release(self, depth: int) -> None:
        """Give back what filters deeper than `depth` held."""
        if self._held and self._held[-1][0] > depth:
            try:
                self._held.pop()[1].release()
            finally:
                self._release(depth)


def run(chain: Chain, perform: Callable[[Any], Any]) -> Any:
    """Drive a chain in sync code; `perform` is the node, model or tool itself."""
    try:
        effect = chain.start()
        while effect is not None:
            try:
                if type(effect) is Proceed:
                    value = perform(effect.call) if effect.within is None else _bounded(effect, perform)
                else:
                    value = _do(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(_Stopped(error) if isinstance(error, StopIteration) else error)
            else:
                effect = chain.send(value)
        return chain.result
    finally:
        if chain._flows:
            chain.close()


async def arun(chain: Chain, perform: Callable[[Any], Awaitable[Any]]) -> Any:
    """Drive a chain in async code."""
    try:
        effect = chain.start()
        while effect is not None:
            try:
                if type(effect) is Proceed:
                    value = await (perform(effect.call) if effect.within is None else _abounded(effect, perform))
                else:
                    value = await _ado(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(error)
            else:
                effect = chain.send(value)
        return chain.result
    finally:
        if chain._flows:
            chain.close()


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
                    value = _do(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(error)
            else:
                effect = chain.send(value)
        if not passed:
            yield chain.result
    finally:
        chain.close()


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
                    value = await _ado(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(error)
            else:
                effect = chain.send(value)
        if not passed:
            yield chain.result
    finally:
        chain.close()


def _bounded(effect: Proceed, perform: Callable[[Any], Any]) -> Any:
    """Wait no longer than allowed; a thread that goes on is refused whatever it tries to start."""
    done: Future[Any] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            done.set_result(context.run(perform, effect.call))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name=f"sidecar-{effect.call.name}", daemon=True).start()
    finished, _ = wait((done,), effect.within)
    if not finished:
        raise _late(effect)
    return done.result()


async def _abounded(effect: Proceed, perform: Callable[[Any], Awaitable[Any]]) -> Any:
    task = asyncio.ensure_future(perform(effect.call))
    try:
        finished, _ = await asyncio.wait((task,), timeout=effect.within)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not finished:
        late = _late(effect)
        task.cancel()  # not awaited: code that swallows the cancellation must not hold the run
        raise late
    return task.result()


def _late(effect: Proceed) -> Refusal:
    node = effect.call.node
    return node.refuse(DeadlineExceeded(f"{node.place} took longer than {effect.within} s", seconds=effect.within))


def _do(effect: Effect) -> Any:
    if isinstance(effect, Sleep):
        return time.sleep(effect.seconds)
    if isinstance(effect, Run):
        return effect.work()
    raise TypeError(f"a filter yielded {effect!r}; expected Proceed, Sleep, Hold or Run")


async def _ado(effect: Effect) -> Any:
    if isinstance(effect, Sleep):
        return await asyncio.sleep(effect.seconds)
    if isinstance(effect, Run):
        return await (effect.awork() if effect.awork else asyncio.to_thread(effect.work))
    raise TypeError(f"a filter yielded {effect!r}; expected Proceed, Sleep, Hold or Run")
