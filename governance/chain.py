"""Runs a chain of filters around a call: two loops, and a stack machine that drivers of a few lines perform.

Most filters only look at a call and at its result; then `enter` and `leave` are all that runs. Where
one has something to ask, the machine decides what happens next, and a driver performs it, plainly or
with `await`. Interrupts, drains and cancellations are never thrown into a filter, where an
`except Exception` could swallow them: the filters are closed instead, from the inside out, and every
slot they hold is released.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import GeneratorType
from typing import Any

from langgraph.errors import GraphBubbleUp

from governance.call import After, Effect, Entered, Filter, Hold, Proceed, Slot
from governance.drivers import Stopped, adrive, drive


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
            raise error.original if isinstance(error, Stopped) else error
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
