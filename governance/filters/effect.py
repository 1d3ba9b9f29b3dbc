"""Side effects happen once: an intent on disk before, the outcome after, found again when a node re-runs."""

from __future__ import annotations

import string
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from governance import canonical
from governance.answers import outcome_for
from governance.call import Effect, Flow, Proceed, Run, Sleep, ToolCall
from governance.contracts import SideEffect
from governance.current import CURRENT, setting
from governance.errors import ContractViolation, EffectInDoubt
from governance.filters.authority import check_latch, check_stops
from governance.filters.effect_late import hear_out, left_behind
from governance.plane.effects import LEASE, Finished, Fresh, InDoubt, Intent, Known, Running
from governance.saga_steps import step_of

PATIENCE = 2 * LEASE
"""Seconds to wait for somebody else who is at work on the same effect; longer than a lease lasts without him."""
POLL = 0.1
FORMATTER = string.Formatter()


class EffectFilter:
    """For tools whose effect changes something; reads pass."""

    def __call__(self, call: ToolCall) -> Flow:
        effect = call.governance.effect(call)
        if effect is None or not effect.changes:
            return (yield Proceed(call))
        effects, intent = call.governance.effects, intended(call, effect)
        yield Run(lambda: call.governance.wait_saved(call))
        intent = yield Run(partial(effects.tried, intent))
        body = {"tool": call.name, "args": dict(call.args), "business": intent.business, "execution": call.execution}
        call.governance.ledger.record(call.session.id, "effect.intent", path=call.path, actor=call.name, body=body)
        known, held = (yield from self._known(call, intent)), False
        try:
            return (yield from self._once(call, effect, intent, known))
        except GeneratorExit:  # its node was cancelled, or asks a person
            if rests := left_behind(call, effect, cancelled=True):
                held = True
                hear_out(call, intent, rests)
            raise
        except Exception:
            held = bool(left_behind(call, effect))
            if not held:
                yield Run(lambda: effects.leave(intent.key, call.execution))
            raise
        finally:
            if not held:
                effects.let_go(intent.key, call.execution)

    def _known(self, call: ToolCall, intent: Intent) -> Generator[Effect, Any, Known]:
        """What is known about the effect, once nobody else is at work on it."""
        effects, patience = call.governance.effects, time.monotonic() + PATIENCE
        while True:
            known: Known = yield Run(lambda: effects.begin(intent))
            if isinstance(known, (Finished, InDoubt)) and known.digest != intent.digest:
                yield from self._park(call, intent, f"{other_arguments(call, intent, known.session)}; decide")
            if not isinstance(known, Running):
                return known
            if time.monotonic() >= patience:
                raise EffectInDoubt(
                    f"another run is at work on this very call of {call.name}, or takes it back; "
                    "resume when that has ended",
                    tool=call.name,
                )
            yield Sleep(POLL)
            check_latch(call.node)  # it may be over meanwhile: its time is up, or somebody stopped it
            check_stops(call)

    def _once(self, call: ToolCall, effect: SideEffect, intent: Intent, known: Known) -> Flow:
        if isinstance(known, Finished):
            self._note(call, "effect.reused", **({"session": known.session} if known.session else {}))
            call.node.effect_done()
            call.reused = True
            return outcome_for(call.call_id, call.name, known.outcome)
        if isinstance(known, InDoubt) or (isinstance(known, Fresh) and known.asked and effect.reconcile is not None):
            return (yield from self._reconcile(call, effect, intent))
        yield Run(call.governance.ledger.flush, call.governance.ledger.aflush)
        return (yield from self._perform(call, effect, intent))

    def _perform(self, call: ToolCall, effect: SideEffect, intent: Intent) -> Flow:
        effects, key = call.governance.effects, intent.key
        call.asks = lambda: effects.asked(key, call.execution)
        if not (yield Run(lambda: effects.confirm(key, call.execution))):
            raise self._fenced(call, "stood still for longer than its lease before it began")
        try:
            check_stops(call)  # what came before took its time on disk
            result = yield Proceed(call)
        except Exception:
            if rests := left_behind(call, effect):
                self._note(call, "effect.unsettled", reason="its time was up, and it goes on")
                call.node.effect_done()
                hear_out(call, intent, rests)
                raise
            yield from self._failed(call, key, nothing_happened=effect.idempotent)
            raise
        if getattr(result, "status", None) == "error" or not call.began:
            yield from self._failed(call, key, nothing_happened=effect.idempotent or effect.declines)
            return result
        yield from self._finish(call, key, result, "effect.finished")
        return result

    def _finish(self, call: ToolCall, key: str, outcome: Any, kind: str) -> Generator[Effect, Any, None]:
        """Store how it ended, unless somebody else has judged it since: then this run knows nothing."""
        call.node.effect_done()
        step = step_of(call)
        if (yield Run(lambda: call.governance.effects.finish(key, call.execution, outcome, step))):
            self._note(call, kind)
            return
        raise self._fenced(call, "ended after its lease had run out; look whether the effect happened twice")

    def _fenced(self, call: ToolCall, why: str) -> EffectInDoubt:
        self._note(call, "effect.fenced", reason=why)
        return EffectInDoubt(
            f"{call.name} {why}: another run has judged it meanwhile, so its word counts", tool=call.name
        )

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

    def _reconcile(self, call: ToolCall, effect: SideEffect, intent: Intent) -> Flow:
        """An earlier run began this effect and was cut off: look, or ask; never guess."""
        find = effect.reconcile
        outcome = (yield Run(lambda: within(call, find, call.args))) if find is not None else None
        if outcome is not None:
            yield from self._finish(call, intent.key, outcome, "effect.reconciled")
            return outcome_for(call.call_id, call.name, outcome)
        if effect.idempotent or find is not None:
            self._note(call, "effect.repeated")
            return (yield from self._perform(call, effect, intent))
        yield from self._park(
            call, intent, f"{call.name} began earlier and nobody saw how it ended; look, then settle it"
        )

    def _park(self, call: ToolCall, intent: Intent, why: str) -> Generator[Effect, Any, None]:
        """Set it aside for a person; what is asked for is stored, so that it is asked for again after that."""
        parked = yield Run(lambda: call.governance.effects.park(intent, why))
        self._note(call, "effect.parked", reason=why)
        raise EffectInDoubt(f"{why} with `sidecar effects settle {parked}`", tool=call.name, effect=parked)

    def _note(self, call: ToolCall, kind: str, **facts: Any) -> None:
        body = {"tool": call.name, "execution": call.execution, **facts}
        call.governance.ledger.record(call.session.id, kind, path=call.path, actor=call.name, body=body)


def place(call: ToolCall) -> str:
    return f"{call.session.id}/{call.governance.place(call)}"


def intended(call: ToolCall, effect: SideEffect) -> Intent:
    return Intent(
        place(call), call.session.id, call.name, canonical.digest([call.name, call.args]), canonical.text(call.args),
        call.execution, business_key(effect, call), step_of(call),
    )  # fmt: skip


def other_arguments(call: ToolCall, intent: Intent, session: str) -> str:
    if session:
        return f"{intent.business} was done or begun in the session {session}, by {call.name} with other arguments"
    return f"{call.name} was already called here with other arguments"


def within(call: ToolCall, work: Callable[..., Any], *args: Any) -> Any:
    """Run what a tool declares (its dry run, its reconcile) as business of the tool, not of the node."""
    with setting(CURRENT, call):
        return work(*args)


def business_key(effect: SideEffect, call: ToolCall) -> str | None:
    """What the effect is known by over all sessions; without all of its parts it would be known by nothing."""
    if effect.key is None:
        return None
    try:
        for _, part, _, _ in FORMATTER.parse(effect.key):
            if part is not None and FORMATTER.get_field(part, (), call.args)[0] in (None, ""):
                raise ValueError(f"{part} is empty")
        return FORMATTER.vformat(effect.key, (), call.args)
    except Exception as error:  # whatever a format string can run into
        raise ContractViolation(
            f"{call.name} has the business key {effect.key!r}, which does not fit its arguments "
            f"({type(error).__name__}: {error}); give all of them, or correct the key",
            tool=call.name,
        ) from error
