"""Side effects happen once: an intent on disk before, the outcome after, found again when a node re-runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from governance import canonical
from governance.call import Effect, Flow, Proceed, Run, Sleep, ToolCall
from governance.contracts import SideEffect
from governance.current import CURRENT
from governance.errors import EffectInDoubt
from governance.filters.authority import check_latch, check_stops
from governance.plane.effects import LEASE, Finished, Fresh, InDoubt, Known, Running

PATIENCE = 2 * LEASE
"""Seconds to wait for somebody else who is at work on the same effect; longer than a lease lasts without him."""
POLL = 0.1


class EffectFilter:
    """For tools whose effect changes something; reads pass."""

    def __call__(self, call: ToolCall) -> Flow:
        effect = call.governance.effect(call)
        if effect is None and any(rule.approval for rule in call.contract.tools.values()):
            return (yield from self._remembered(call))
        if effect is None or not effect.changes:
            return (yield Proceed(call))
        effects, ledger, key = call.governance.effects, call.governance.ledger, place(call)
        business = business_key(effect, call)
        row = {"tool": call.name, "args": dict(call.args), "business": business, "execution": call.execution}
        ledger.record(call.session.id, "effect.intent", path=call.path, actor=call.name, body=row)
        known = yield from self._known(call, key, business)
        try:
            return (yield from self._once(call, effect, key, known))
        except Exception:
            yield Run(lambda: effects.leave(key, call.execution))
            raise
        finally:
            effects.let_go(key, call.execution)

    def _known(self, call: ToolCall, key: str, business: str | None) -> Generator[Effect, Any, Known]:
        """What is known about the place, once nobody else is at work there."""
        patience, begin = time.monotonic() + PATIENCE, beginning(call, key, business)
        while True:
            known: Known = yield Run(begin)
            if not isinstance(known, Fresh) and known.digest != digest(call):
                raise EffectInDoubt(
                    f"{call.name} was already called here with other arguments; a person has to decide", tool=call.name
                )
            if not isinstance(known, Running):
                return known
            if time.monotonic() >= patience:
                raise EffectInDoubt(
                    f"another run is at work on this very call of {call.name}; resume when that has ended",
                    tool=call.name,
                )
            yield Sleep(POLL)
            check_latch(call.node)  # it may be over meanwhile: its time is up, or somebody stopped it
            check_stops(call)

    def _once(self, call: ToolCall, effect: SideEffect, key: str, known: Known) -> Flow:
        if isinstance(known, Finished):
            self._note(call, "effect.reused")
            call.node.effect_done()
            return self._answered(known.outcome, call)
        if isinstance(known, InDoubt):
            return (yield from self._reconcile(call, effect, key))
        yield Run(call.governance.ledger.flush, call.governance.ledger.aflush)
        return (yield from self._perform(call, effect, key))

    def _remembered(self, call: ToolCall) -> Flow:
        """A tool that declares nothing, in a node that may wait for a person and then runs again from its start.

        The same call at the same place is answered from what it returned before the question.
        """
        effects, key = call.governance.effects, f"{place(call)}~{digest(call)[:16]}"
        known = yield Run(beginning(call, key, None))
        if isinstance(known, Finished):
            self._note(call, "effect.reused")
            return self._answered(known.outcome, call)
        try:
            result = yield Proceed(call)
            yield Run(lambda: effects.finish(key, result))
        finally:
            effects.let_go(key, call.execution)
        return result

    def _perform(self, call: ToolCall, effect: SideEffect, key: str) -> Flow:
        effects = call.governance.effects
        call.asks = lambda: effects.asked(key, call.execution)
        try:
            result = yield Proceed(call)
        except Exception:
            yield from self._failed(call, key, nothing_happened=effect.idempotent)
            raise
        if getattr(result, "status", None) == "error" or not call.began:
            yield from self._failed(call, key, nothing_happened=effect.idempotent or effect.declines)
            return result
        call.node.effect_done()
        yield Run(lambda: effects.finish(key, result))
        self._note(call, "effect.finished")
        return result

    def _failed(self, call: ToolCall, key: str, *, nothing_happened: bool) -> Generator[Effect, Any, None]:
        """Another try is no repeat where the tool's own code did not begin, or where it is said to be harmless."""
        effects = call.governance.effects
        if nothing_happened or not call.began:
            yield Run(lambda: effects.withdraw(key, call.execution))
            self._note(call, "effect.declined")
        else:
            yield Run(lambda: effects.leave(key, call.execution))
            self._note(call, "effect.unsettled")
            call.node.effect_done()

    def _reconcile(self, call: ToolCall, effect: SideEffect, key: str) -> Flow:
        """An earlier run began this effect and was cut off: look, or ask; never guess."""
        find = effect.reconcile
        outcome = (yield Run(lambda: within(call, find, call.args))) if find is not None else None
        if outcome is not None:
            yield Run(lambda: call.governance.effects.finish(key, outcome))
            self._note(call, "effect.reconciled")
            call.node.effect_done()
            return self._answered(outcome, call)
        if effect.idempotent or find is not None:
            self._note(call, "effect.repeated")
            return (yield from self._perform(call, effect, key))
        raise EffectInDoubt(
            f"{call.name} began earlier and nobody saw how it ended; look, then settle it by hand",
            tool=call.name,
        )

    def _answered(self, outcome: Any, call: ToolCall) -> Any:
        # The model may have asked under a new id; its provider wants the answer under that one.
        if call.call_id is not None and hasattr(outcome, "tool_call_id"):
            return outcome.model_copy(update={"tool_call_id": call.call_id})
        return outcome

    def _note(self, call: ToolCall, kind: str) -> None:
        body = {"tool": call.name, "execution": call.execution}
        call.governance.ledger.record(call.session.id, kind, path=call.path, actor=call.name, body=body)


def place(call: ToolCall) -> str:
    return f"{call.session.id}/{call.governance.place(call)}"


def digest(call: ToolCall) -> str:
    return canonical.digest([call.name, call.args])


def beginning(call: ToolCall, key: str, business: str | None) -> Callable[[], Known]:
    return lambda: call.governance.effects.begin(
        key, session=call.session.id, tool=call.name, digest=digest(call), args=canonical.text(call.args),
        execution=call.execution, business=business,
    )  # fmt: skip


def within(call: ToolCall, work: Callable[..., Any], *args: Any) -> Any:
    """Run what a tool declares (its dry run, its reconcile) as business of the tool, not of the node."""
    token = CURRENT.set(call)
    try:
        return work(*args)
    finally:
        CURRENT.reset(token)


def business_key(effect: SideEffect, call: ToolCall) -> str | None:
    if effect.key is None:
        return None
    try:
        return effect.key.format(**call.args)
    except (KeyError, IndexError, ValueError):
        return None
