"""Sessions that are killed at one of their nodes and run on, as a process that died and came again would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from governance.call import Flow, NodeCall, Proceed


class Killed(BaseException):
    """Not for anybody to handle, as a kill is not."""


class Kill:
    """A filter that ends everything at the n-th node, before it or after it."""

    at = "node"

    def __init__(self, n: int, *, after: bool) -> None:
        self.left = n
        self.after = after

    def __call__(self, call: NodeCall) -> Flow:
        self.left -= 1
        chosen = self.left == 0
        if chosen and not self.after:
            raise Killed
        result = yield Proceed(call)
        if chosen:
            raise Killed
        return result


class RunOn:
    """A graph whose runs, where they are killed, are gone on with as one does: with nothing as input."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.kills = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.graph, name)

    def invoke(self, given: Any, config: Any, **options: Any) -> Any:
        try:
            return self.graph.invoke(given, config, **options)
        except Killed:
            self.kills += 1
            return self.graph.invoke(None, config, **options)

    async def ainvoke(self, given: Any, config: Any, **options: Any) -> Any:
        try:
            return await self.graph.ainvoke(given, config, **options)
        except Killed:
            self.kills += 1
            return await self.graph.ainvoke(None, config, **options)

    async def astream(self, given: Any, config: Any, **options: Any) -> AsyncIterator[Any]:
        try:
            async for piece in self.graph.astream(given, config, **options):
                yield piece
            return
        except Killed:
            self.kills += 1
        async for piece in self.graph.astream(None, config, **options):
            yield piece
