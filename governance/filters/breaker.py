"""Leaves a dependency alone that fails too often; inside the attempts, so that it sees every try."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

from governance.call import Effect, Flow, Hold, ModelCall, Proceed, Run, ToolCall
from governance.failures import answered, status_of, weather
from governance.plane.breaker import Breaker
from governance.plane.dependencies import Dependency
from governance.plane.permit import Permit
from governance.tenants import tenant_of

LOCKED_OUT = (401, 403)
"""A dependency that says so works; but for the tenant whose key it is, it does not."""


class CircuitBreaker:
    """Refuses calls while a circuit is open, and tells the breakers how the others ended.

    With tenants there are two: a tenant's own, which what is wrong with that tenant alone opens, and one of all.
    """

    def __call__(self, call: ModelCall | ToolCall) -> Flow | None:
        dependency = call.governance.directory.of(call)
        if dependency.breaker is None:
            return None
        tenant = tenant_of(call)
        permits = [Permit(dependency.breaker, tenant)]
        if tenant:
            permits.insert(0, Permit(dependency.breaker_of(tenant)))
        return self._guarded(call, dependency, permits)

    def _guarded(self, call: ModelCall | ToolCall, dependency: Dependency, permits: list[Permit]) -> Flow:
        call.queued = 0.0
        try:
            permits[-1].breaker.refuse()  # a tenant's own probe would be taken in vain
            for permit in permits:
                yield Hold(permit)
                if permit.open:
                    yield Run(permit.ask)
            began = dependency.clock()
            try:
                result = yield Proceed(call)
            except Exception as error:
                kind = weather(error, dependency.rules.retries.on if dependency.rules.retries else ())
                failed = True if kind is not None else False if answered(error) else None
                took = dependency.clock() - began - call.queued
                yield from settled(permits[-1:], failed, took, f"{type(error).__name__}, {kind}")
                if status_of(error) in LOCKED_OUT:
                    failed, kind = True, "locked out"
                yield from settled(permits[:-1], failed, took, f"{type(error).__name__}, {kind}")
                raise
            yield from settled(permits, False, dependency.clock() - began - call.queued)
            return result
        finally:
            for permit in permits:
                told(call, permit.breaker)


def settled(permits: list[Permit], failed: bool | None, took: float, why: str = "") -> Generator[Effect, None, None]:
    """Say how a call ended; of probes, all processes are told before it goes on."""
    for permit in permits:
        if permit.probes:
            yield Run(partial(permit.settle, failed, took, why))
        else:
            permit.settle(failed, took, why)


def told(call: ModelCall | ToolCall, breaker: Breaker) -> None:
    """Put what has changed on record, in the session of whoever was there."""
    for circuit in breaker.news():
        word = {"open": "opened", "half-open": "half_open", "closed": "closed"}[circuit.state]
        call.governance.ledger.record(
            call.session.id, f"breaker.{word}", path=call.path, actor=breaker.name,
            body={"dependency": breaker.name, "execution": call.execution, "reason": circuit.reason},
        )  # fmt: skip
