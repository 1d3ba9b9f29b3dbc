"""Tokens of model calls: reserve what a call may need, settle with what it used."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage

from governance.call import Flow, Hold, ModelCall, Proceed, Run
from governance.errors import BudgetExceeded
from governance.tokens import MessageCounter

COUNTER = MessageCounter()


class Reservation:
    """Tokens set aside for one call; whatever way the call ends, the difference goes back."""

    def __init__(self, call: ModelCall, tokens: int) -> None:
        self._call = call
        self._tokens = tokens
        self.used: int | None = None

    def take(self) -> None:
        call, node, session = self._call, self._call.node, self._call.session
        total, allowance = call.governance.policy.budget.session_tokens, call.contract.tokens
        with session.lock:
            if total is not None and session.tokens + self._tokens > total:
                raise self._short("the session", total - session.tokens, total)
            if allowance is not None and node.tokens + self._tokens > allowance:
                raise self._short(node.place, allowance - node.tokens, allowance)
            session.tokens += self._tokens
            node.tokens += self._tokens

    def _short(self, who: str, left: int, total: int) -> BudgetExceeded:
        needed = self._tokens
        text = f"this call may need {needed} tokens; {who} has {max(0, left)} of {total} left"
        return BudgetExceeded(text, needed=needed)

    def release(self) -> None:
        # Where a provider never said what was used, what was reserved counts: it may have been paid.
        used = self._tokens if self.used is None else self.used
        with self._call.session.lock:
            self._call.session.tokens += used - self._tokens
            self._call.node.tokens += used - self._tokens
        self._call.spent = used


class Budget:
    """Refuses a model call whose prompt and answer do not fit what is left."""

    def __call__(self, call: ModelCall) -> Flow:
        policy, session = call.governance.policy.budget, call.session
        if policy.session_tokens is None and call.contract.tokens is None:
            result = yield Proceed(call)
            call.spent = usage(result)  # nothing to keep within: the provider's own account is enough
            return result
        if policy.session_tokens is not None and not session.known:
            head = yield Run(lambda: call.governance.ledger.head(session.id))
            with session.lock:
                if not session.known:
                    session.tokens += head.tokens if head else 0
                    session.known = True
        call.prompt_tokens = COUNTER.count(call.messages) + COUNTER.options(call.options)
        reservation = Reservation(call, call.prompt_tokens + answer_tokens(call, policy.answer_tokens))
        yield Hold(reservation)
        result = yield Proceed(call)
        answered = messages_of(result)
        if answered:  # a stream of events that is only beginning is charged what was reserved
            reservation.used = usage(result) or call.prompt_tokens + COUNTER.count(answered)
        return result


def answer_tokens(call: ModelCall, otherwise: int) -> int:
    for source in (call.options, vars(call.model)):
        for name in ("max_tokens", "max_completion_tokens"):
            value = source.get(name)
            if isinstance(value, int) and value > 0:
                return value
    return otherwise


def messages_of(result: Any) -> list[Any]:
    """The messages of an answer, whichever method of a model it came from."""
    generations = getattr(result, "generations", None)
    if generations is None:
        return [result] if hasattr(result, "content") else []
    flat = [g for part in generations for g in (part if isinstance(part, list) else [part])]
    return [getattr(g, "message", None) or AIMessage(g.text) for g in flat]


def usage(result: Any) -> int:
    """Tokens by the provider's own account, 0 where it gives none."""
    total = 0
    for message in messages_of(result):
        metadata = getattr(message, "usage_metadata", None)
        if metadata:
            total += int(metadata.get("total_tokens", 0))
    return total
