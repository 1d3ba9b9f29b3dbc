"""Bounds how many calls are at a dependency at once, and how many of them are one agent's or tenant's."""

from __future__ import annotations

from collections.abc import Generator

from governance.call import Call, Effect, Flow, Hold, ModelCall, Proceed, Run, ToolCall
from governance.errors import Shed
from governance.filters.authority import check_stops
from governance.plane.bulkhead import Bulkhead, Place
from governance.plane.dependencies import Dependency
from governance.priorities import priority_of
from governance.tenants import tenant_of


class BulkheadFilter:
    """Takes a place, or waits for one in line, or refuses; the tenant's and the agent's own share come first."""

    def __call__(self, call: ModelCall | ToolCall) -> Flow | None:
        dependency = call.governance.directory.of(call)
        return None if dependency.bulkhead is None else self._placed(call, dependency)

    def _placed(self, call: ModelCall | ToolCall, dependency: Dependency) -> Flow:
        tenant = tenant_of(call)
        began = dependency.clock()
        try:
            for bulkhead in dependency.places_of(call.contract.role or call.node.place, tenant):
                yield from self._taken(call, bulkhead)
            if dependency.breaker is not None:
                dependency.breaker.check()
                if tenant:
                    dependency.breaker_of(tenant).check()
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
        while bulkhead.short:  # others may have taken meanwhile what was leased
            yield Run(bulkhead.lease)
        place = Place(bulkhead, call.execution, priority_of(call))
        yield Hold(place)
        if not place.granted.done():
            yield Run(place.wait, place.await_)
        place.granted.result()  # raises where somebody of a higher priority took its wait


def inside(call: Call, bulkhead: Bulkhead) -> bool:
    """Whether this call runs in one that has a place: waiting for another, both would wait for ever."""
    part = call.parent
    while part is not None:
        if bulkhead.holds(part.execution):
            return True
        part = part.parent
    return False
