"""Bounds how many calls are at a dependency at once, and how many of them are one agent's."""

from __future__ import annotations

from collections.abc import Generator

from governance.call import Call, Effect, Flow, Hold, ModelCall, Proceed, Run, ToolCall
from governance.errors import Shed
from governance.filters.authority import check_stops
from governance.plane.bulkhead import Bulkhead, Place
from governance.plane.dependencies import Dependency


class BulkheadFilter:
    """Takes a place, or waits for one in line, or refuses; the agent's own share comes first."""

    def __call__(self, call: ModelCall | ToolCall) -> Flow | None:
        dependency = call.governance.directory.of(call)
        return None if dependency.bulkhead is None else self._placed(call, dependency, dependency.bulkhead)

    def _placed(self, call: ModelCall | ToolCall, dependency: Dependency, bulkhead: Bulkhead) -> Flow:
        share = dependency.share_of(call.contract.role or call.node.place)
        began = dependency.clock()
        try:
            if share is not None:
                yield from self._taken(call, share)
            yield from self._taken(call, bulkhead)
            if dependency.breaker is not None:
                dependency.breaker.check()
        except Shed as shed:
            call.governance.ledger.record(
                call.session.id, "bulkhead.shed", path=call.path, actor=call.name,
                body={"dependency": dependency.name, "execution": call.execution, "reason": shed.reason},
            )  # fmt: skip
            raise
        finally:
            call.queued = dependency.clock() - began
        check_stops(call)
        return (yield Proceed(call))

    def _taken(self, call: ModelCall | ToolCall, bulkhead: Bulkhead) -> Generator[Effect, None, None]:
        if inside(call, bulkhead):
            return
        place = Place(bulkhead, call.execution)
        yield Hold(place)
        if not place.granted.done():
            yield Run(place.wait, place.await_)


def inside(call: Call, bulkhead: Bulkhead) -> bool:
    """Whether this call runs in one that has a place: waiting for another, both would wait for ever."""
    part = call.parent
    while part is not None:
        if bulkhead.holds(part.execution):
            return True
        part = part.parent
    return False
