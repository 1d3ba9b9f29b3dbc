"""Leaves a dependency alone that fails too often; inside the attempts, so that it sees every try."""

from __future__ import annotations

from governance.call import Flow, Hold, ModelCall, Proceed, ToolCall
from governance.failures import answered, weather
from governance.plane.breaker import Breaker, Permit
from governance.plane.dependencies import Dependency


class CircuitBreaker:
    """Refuses calls while the circuit is open, and tells the breaker how the others ended."""

    def __call__(self, call: ModelCall | ToolCall) -> Flow | None:
        dependency = call.governance.directory.of(call)
        breaker = dependency.breaker
        return None if breaker is None else self._guarded(call, dependency, breaker)

    def _guarded(self, call: ModelCall | ToolCall, dependency: Dependency, breaker: Breaker) -> Flow:
        permit = Permit(breaker)
        call.queued = 0.0
        try:
            yield Hold(permit)
            began = dependency.clock()
            try:
                result = yield Proceed(call)
            except Exception as error:
                kind = weather(error, dependency.rules.retries.on if dependency.rules.retries else ())
                failed = True if kind is not None else False if answered(error) else None
                permit.settle(failed, dependency.clock() - began - call.queued, f"{type(error).__name__}, {kind}")
                raise
            permit.settle(False, dependency.clock() - began - call.queued)
            return result
        finally:
            told(call, breaker)


def told(call: ModelCall | ToolCall, breaker: Breaker) -> None:
    """Put what has changed on record, in the session of whoever was there."""
    for circuit in breaker.news():
        word = {"open": "opened", "half-open": "half_open", "closed": "closed"}[circuit.state]
        call.governance.ledger.record(
            call.session.id, f"breaker.{word}", path=call.path, actor=breaker.name,
            body={"dependency": breaker.name, "execution": call.execution, "reason": circuit.reason},
        )  # fmt: skip
