"""Runs a chain of filters around a call: two loops, a stack machine, and drivers of a few lines each.

Most filters only look at a call and at its result; then `enter` and `leave` are all that runs. Where
one has something to ask, the machine decides what happens next, and a driver performs it, plainly or
with `await`. Interrupts, drains and cancellations are never thrown into a filter, where an
`except Exception` could swallow them: the filters are closed instead, from the inside out, and every
slot they hold is released.
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

from governance.call import After, Effect, Entered, Filter, Hold, Proceed, Slot
from governance.current import mark_place, unmark_place
from governance.drivers import acarry_out, carry_out
from governance.errors import DeadlineExceeded, Refusal


class _Stopped(Exception):
    """Carries a `StopIteration` through generators, which would turn it into a `RuntimeError`."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(original)
        self.original = original


class Chain:
    """One run through the filters, the first one outermost; single use.

    `entered` is what the first filters gave when they were entered already: only the last may have to ask something.
    """

    __slots__ = ("_filters", "_flows", "_held", "call", "result")

    def __init__(self, filters: Sequence[Filter], call: Any, entered: Sequence[Entered | None] = ()) -> None:
        self._filters = filters
        self._flows: list[tuple[Entered, int, Any]] = [
            (one, depth, call) for depth, one in enumerate(entered, 1) if one is not None
        ]
        self._held: list[tuple[int, Slot]] = []
        self.call = call
        self.result: Any = None

    def start(self) -> Effect | None:
        """The first effect to perform, or None when the chain is over (then `result` is set)."""
        return self._advance(None if self._flows else Proceed(self.call), None, None)

    def send(self, value: Any) -> Effect | None:
        """Hand in what came of the last effect."""
        return self._advance(None, value, None)

    def throw(self, error: BaseException) -> Effect | None:
        """Hand in the error of the last effect; raises it where no filter handles it."""
        return self._advance(None, None, error)

    def close(self, error: BaseException | None = None) -> None:
        """End every filter that still runs, because of an error that is not for filters, and release what it holds."""
        if not self._flows:
            return
        flow, _, call = self._flows.pop()
        try:
            if not callable(flow):
                flow.close()
            else:
                tell((flow,), call, error or GeneratorExit())
        finally:
            try:
                self._release(len(self._flows))
            finally:
                self.close(error)

    def _advance(self, effect: Effect | None, value: Any, error: BaseException | None) -> Effect | None:
        """Until somebody has to perform something: enter filters that are proceeded to, leave those that end."""
        flows, depth = self._flows, 0
        while True:
            if effect is None:
                if not flows:
                    break
                flow, depth, call = flows[-1]
                try:
                    if not callable(flow):
                        effect = flow.send(value) if error is None else flow.throw(error)
                    elif error is not None:
                        tell((flow,), call, error)
                    else:
                        flows[-1] = (_heard, depth, call)  # its own error is not told to it
                        value = flow(call, value)
                        if type(value) is GeneratorType:  # it has more to ask before it knows
                            flows[-1], value = (value, depth, call), None
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
                            flows.append((entered, depth, call))
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


def _heard(call: Any, value: Any) -> Any:
    """Stands where a filter has had its say."""
    return value


def tell(entered: Sequence[Entered | None], call: Any, error: BaseException) -> None:
    """Let filters that only look at results, but want to know how the call ended, know of an error."""
    for one in reversed(entered):
        failed = getattr(one, "failed", None)
        if failed is not None:
            failed(call, error)


def run(filters: Sequence[Filter], call: Any, perform: Callable[[Any], Any]) -> Any:
    """Run a call inside its filters; `perform` is the node, model or tool itself."""
    entered = enter(filters, call)
    if isinstance(entered, Chain):
        return drive(entered, perform)
    try:
        value = perform(call)
    except BaseException as error:
        tell(entered, call, error)
        raise
    value = leave(filters, entered, call, value)
    return drive(value, perform) if type(value) is Chain else value


async def arun(filters: Sequence[Filter], call: Any, perform: Callable[[Any], Awaitable[Any]]) -> Any:
    """`run` for async code."""
    entered = enter(filters, call)
    if isinstance(entered, Chain):
        return await adrive(entered, perform)
    try:
        value = await perform(call)
    except BaseException as error:
        tell(entered, call, error)
        raise
    value = leave(filters, entered, call, value)
    return await adrive(value, perform) if type(value) is Chain else value


def enter(filters: Sequence[Filter], call: Any) -> list[After | None] | Chain:
    """What each filter wants to do with the result; a machine to drive where one has something to ask first."""
    entered: list[Any] = []
    try:
        for one in filters:
            after = one(call)
            entered.append(after)
            if type(after) is GeneratorType:
                return Chain(filters, call, entered)
    except BaseException as error:
        tell(entered, call, error)
        raise
    return entered


def leave(filters: Sequence[Filter], entered: list[Any], call: Any, value: Any) -> Any:
    """The result as the filters make it, from the inside out; a machine where one has something to ask."""
    try:
        while entered:
            after = entered.pop()
            if after is not None:
                value = after(call, value)
                if type(value) is GeneratorType:
                    return Chain(filters, call, [*entered, value])
    except BaseException as error:
        tell(entered, call, error)
        raise
    return value


def drive(chain: Chain, perform: Callable[[Any], Any]) -> Any:
    """Perform in sync code what a chain asks for."""
    try:
        effect = chain.start()
        while effect is not None:
            try:
                if type(effect) is Proceed:
                    value = perform(effect.call) if effect.within is None else _bounded(effect, perform)
                else:
                    value = carry_out(effect)
            except GraphBubbleUp:
                raise
            except Exception as error:
                effect = chain.throw(_Stopped(error) if isinstance(error, StopIteration) else error)
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
                    value = await (perform(effect.call) if effect.within is None else _abounded(effect, perform))
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


def _bounded(effect: Proceed, perform: Callable[[Any], Any]) -> Any:
    """Wait no longer than allowed; a thread that goes on is refused whatever it tries to start."""
    done: Future[Any] = Future()
    context, deadline = contextvars.copy_context(), _Deadline(effect)

    def work() -> None:
        mark = mark_place(effect.call)
        try:
            value = context.run(perform, effect.call)
        except BaseException as error:
            deadline.ended()
            done.set_exception(error)
        else:
            deadline.ended()
            done.set_result(value)
        finally:
            unmark_place(mark)

    threading.Thread(target=work, name=f"sidecar-{effect.call.name}", daemon=True).start()
    finished, _ = wait((done,), effect.within)
    if not finished or deadline.missed:
        raise deadline.refusal()
    return done.result()


async def _abounded(effect: Proceed, perform: Callable[[Any], Awaitable[Any]]) -> Any:
    deadline = _Deadline(effect)

    async def work() -> Any:
        mark = mark_place(effect.call)
        try:
            return await perform(effect.call)
        finally:
            unmark_place(mark)
            deadline.ended()

    task = asyncio.ensure_future(work())
    try:
        finished, _ = await asyncio.wait((task,), timeout=effect.within)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not finished or deadline.missed:
        late = deadline.refusal()
        task.cancel()  # not awaited: code that swallows the cancellation must not hold the run
        raise late from (task.exception() if finished and not task.cancelled() else None)
    return task.result()


class _Deadline:
    """Tells late from in time by the clock: code that blocks its loop is late before any timer can say so."""

    def __init__(self, effect: Proceed) -> None:
        self.effect = effect
        self.started = time.monotonic()
        self.missed = False

    def ended(self) -> None:
        self.missed = time.monotonic() - self.started > (self.effect.within or 0.0)

    def refusal(self) -> Refusal:
        node, within = self.effect.call.node, self.effect.within
        return node.refuse(DeadlineExceeded(f"{node.place} took longer than {within} s", seconds=within))
