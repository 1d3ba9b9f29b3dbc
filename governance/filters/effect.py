"""Side effects happen once: an intent on disk before, the outcome after, found again when a node re-runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from governance import canonical
from governance.boundary import CURRENT
from governance.call import Flow, Proceed, Run, ToolCall
from governance.contracts import SideEffect
from governance.errors import EffectInDoubt, Refusal
from governance.plane.effects import Finished, InDoubt


class EffectFilter:
    """For tools whose effect changes something; reads pass."""

    def __call__(self, call: ToolCall) -> Flow:
        effect = call.governance.effect(call)
        if effect is None and any(rule.approval for rule in call.contract.tools.values()):
            return (yield from self._remembered(call))
        if effect is None or not effect.changes:
            return (yield Proceed(call))
        effects, ledger = call.governance.effects, call.governance.ledger
        key, args = f"{call.session.id}/{call.path}", canonical.text(call.args)
        digest = canonical.digest([call.name, call.args])
        business = business_key(effect, call)
        row = {
            "tool": call.name,
            "args": dict(call.args),
            "business": business,
            "execution": call.execution,
        }
        ledger.record(call.session.id, "effect.intent", path=call.path, actor=call.name, body=row)
        known = yield Run(
            lambda: effects.begin(
                key, session=call.session.id, tool=call.name, digest=digest, args=args,
                execution=call.execution, business=business,
            )
        )  # fmt: skip
        if isinstance(known, (Finished, InDoubt)) and known.digest != digest:
            raise EffectInDoubt(
                f"{call.name} was already called here with other arguments; a person has to decide",
                tool=call.name,
            )
        if isinstance(known, Finished):
            self._note(call, "effect.reused")
            call.node.effect_done()
            return self._answered(known.outcome, call)
        if isinstance(known, InDoubt):
            return (yield from self._reconcile(call, effect, key))
        yield Run(ledger.flush, ledger.aflush)
        return (yield from self._perform(call, effect, key))

    def _remembered(self, call: ToolCall) -> Flow:
        """A tool that declares nothing, in a node that may wait for a person and then runs again from its start.

        The same call at the same place is answered from what it returned before the question.
        """
        effects, digest = call.governance.effects, canonical.digest([call.name, call.args])
        key = f"{call.session.id}/{call.path}~{digest[:16]}"
        known = yield Run(
            lambda: effects.begin(
                key, session=call.session.id, tool=call.name, digest=digest, args=canonical.text(call.args),
                execution=call.execution, business=None,
            )
        )  # fmt: skip
        if isinstance(known, Finished):
            self._note(call, "effect.reused")
            return self._answered(known.outcome, call)
        result = yield Proceed(call)
        yield Run(lambda: effects.finish(key, result))
        return result

    def _perform(self, call: ToolCall, effect: SideEffect, key: str) -> Flow:
        effects = call.governance.effects
        try:
            result = yield Proceed(call)
        except (ValidationError, Refusal):
            yield Run(lambda: effects.withdraw(key))  # it was refused before it began
            raise
        except Exception:
            if effect.idempotent:
                yield Run(lambda: effects.withdraw(key))
            raise
        if getattr(result, "status", None) == "error":
            # The tool itself declined and says so; nothing happened, and another try is not a repeat.
            yield Run(lambda: effects.withdraw(key))
            self._note(call, "effect.declined")
            return result
        call.node.effect_done()
        yield Run(lambda: effects.finish(key, result))
        self._note(call, "effect.finished")
        return result

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
