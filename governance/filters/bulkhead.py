"""Bounds how many calls are at a dependency at once, and how many of them are one agent's or tenant's."""

from __future__ import annotations

from collections.abc import Generator

from governance.call import Call, Effect, Flow, Hold, ModelCall, Proceed, Run, ToolCall
from governance.deadlines import rest_of, threads_of
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
        tenant, places = tenant_of(call), list[Place]()
        began = dependency.clock()
        try:
            for bulkhead in dependency.places_of(call.contract.role or call.node.place, tenant):
                if not inside(call, bulkhead):
                    yield from self._taken(call, bulkhead, places)
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
        try:
            return (yield Proceed(call))
        except BaseException as error:
            late = rest_of(call)
            rests = [] if late is None and isinstance(error, Exception) else threads_of(call)
            for place in places:
                place.keep_for([*rests, *([] if late is None else [late])])
            raise

    def _taken(
        self, call: ModelCall | ToolCall, bulkhead: Bulkhead, places: list[Place]
    ) -> Generator[Effect, None, None]:
        while bulkhead.short:  # others may have taken meanwhile what was leased
            yield Run(bulkhead.lease)
        place = Place(bulkhead, call.execution, priority_of(call))
        places.append(place)
        yield Hold(place)
        if not place.given:
            yield Run(place.wait, place.await_)
        place.check()


def inside(call: Call, bulkhead: Bulkhead) -> bool:
    """Whether this call runs in one that has a place: waiting for another, both would wait for ever."""
    part = call.parent
    while part is not None:
        if bulkhead.holds(part.execution):
            return True
        part = part.parent
    return False
