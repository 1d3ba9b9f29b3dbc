"""Automatic stops: counts what calls spend, and how they end, and stops what a rule says is too much.

The stop is one like an operator's. It is in force in this process before anything is written, and in all
others as soon as it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from langgraph.errors import GraphBubbleUp

from governance.call import After, Call, ModelCall, ToolCall, also_told
from governance.errors import Abandoned, GovernanceError, Halted, Refusal, Revise
from governance.filters.authority import check_stops
from governance.plane.stops import Stop
from governance.policy_halts import HaltRule
from governance.tenants import tenant_of

MARK = "__sidecar_counted__"
CAUSES = 10
NO_REJECTION = (Halted, Abandoned)
"""They follow from a stop, or from an end, and say nothing new."""


class Halts:
    """Counts for the rules of one policy; stands outermost, so that it hears of everything that is refused."""

    def __init__(self, rules: Sequence[HaltRule]) -> None:
        self._rules = {kind: [rule for rule in rules if rule.when == kind] for kind in {rule.when for rule in rules}}
        self._after = also_told(self._failed)(partial(self._ended))  # a method takes no attribute
        self.counts_effects = "effects" in self._rules

    def __call__(self, call: Call) -> After:
        return self._after

    def _ended(self, call: Call, result: Any) -> Any:
        if type(call) is ModelCall and call.spent:
            self.count(call, "spend", call.spent)
        return result

    def _failed(self, call: Call, error: BaseException) -> None:
        if type(call) is ModelCall and call.spent:
            self.count(call, "spend", call.spent)
        if not isinstance(error, GraphBubbleUp) and isinstance(error, Exception):
            self.failed(call, error)

    def failed(self, call: Call, error: Exception) -> None:
        """Count an error or a refusal, once, however many calls it leaves."""
        rejected = isinstance(error, (Refusal, Revise))
        if isinstance(error, NO_REJECTION) or (isinstance(error, GovernanceError) and not rejected) or _known(error):
            return
        with suppress(Exception):  # some errors cannot be written on: they count once a call
            setattr(error, MARK, True)
        for kind in ("rejections",) if rejected else ("errors", "spread"):
            self.count(call, kind)

    def count(self, call: Call, kind: str, amount: int = 1) -> None:
        """Add to what is counted of this kind, and stop what has had too much of it."""
        counts = call.governance.sidecar.halts
        for rule in self._rules.get(kind, ()):
            name = named(call, rule.of)
            if name:
                found = counts.count(rule, name, amount, call.node.place)
                if found is not None:
                    trip(call, rule, name, found)


class EffectBursts:
    """Counts effects as they begin; the one that is too many does not."""

    def __init__(self, halts: Halts) -> None:
        self._halts = halts

    def __call__(self, call: ToolCall) -> None:
        effect = call.governance.effect(call)
        if effect is not None and effect.changes:
            self._halts.count(call, "effects")
            check_stops(call)


def trip(call: Call, rule: HaltRule, name: str, found: int) -> None:
    """Stop it, unless it is stopped already."""
    reason = rule.words(found)
    if call.governance.control.halt(Stop(rule.of, name, reason, f"rule:{rule.when}", time.time())):
        body = {"scope": rule.of, "name": name, "when": rule.when, "found": found, "over": rule.over,
                "within": rule.within, "reason": reason, "execution": call.execution}  # fmt: skip
        call.governance.ledger.record(
            call.session.id, "halt.tripped", path=call.path, actor=f"rule:{rule.when}", body=body
        )


def named(call: Call, scope: str) -> str:
    """What of a call is counted; empty where it has no such thing."""
    if scope == "all":
        return "*"
    if scope == "session":
        return call.session.id
    if scope == "agent":
        return call.contract.role or call.node.place
    if scope == "tool":
        return call.name if isinstance(call, ToolCall) else ""
    return tenant_of(call)


def _known(error: BaseException) -> bool:
    """Whether it, or what it was raised from, was counted already."""
    return any(getattr(one, MARK, False) for one in _causes(error))


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    for _ in range(CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
