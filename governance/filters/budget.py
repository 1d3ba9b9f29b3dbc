"""Tokens of model calls: reserve what a call may need, settle with what it used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessage

from governance.call import Call, Flow, Hold, ModelCall, NodeCall, Proceed, Run
from governance.errors import BudgetExceeded, Unavailable
from governance.tokens import MessageCounter

COUNTER = MessageCounter()


class Reservation:
    """Tokens set aside in the allowances of nodes; whatever way the call ends, the difference goes back.

    One event tells how that went, once the model may have been asked: a call that is refused moves nothing.
    """

    def __init__(self, call: ModelCall, tokens: int, total: int | None) -> None:
        self.call = call
        self.tokens = tokens
        self.total = total
        """What the session may use in all."""
        self.asked = False
        self.used: int | None = 0
        """None from the moment the model is asked until it said what it used."""

    def take(self) -> None:
        nodes = list(_nodes_above(self.call))
        with self.call.session.lock:
            for node in nodes:
                allowance = node.contract.tokens if node.bound.enforced else None
                if allowance is not None and node.tokens + self.tokens > allowance:
                    raise self.short(node.place, allowance - node.tokens, allowance)
            for node in nodes:
                node.tokens += self.tokens

    def short(self, who: str, left: int, total: int) -> BudgetExceeded:
        text = f"this call may need {self.tokens} tokens; {who} has {max(0, left)} of {total} left"
        return BudgetExceeded(text, needed=self.tokens)

    def release(self) -> None:
        # Where a provider never said what was used, what was reserved counts: it may have been paid.
        used = self.tokens if self.used is None else self.used
        with self.call.session.lock:
            for node in _nodes_above(self.call):
                node.tokens += used - self.tokens
        self.call.spent = used
        if self.asked:
            self._tell(used)

    def _tell(self, used: int) -> None:
        """What was set aside, what was used of it, and what is left wherever there is a limit."""
        call, left = self.call, []
        if self.total is not None:
            left.append({"of": "session", "left": max(0, self.total - call.session.tokens), "total": self.total})
        for node in _nodes_above(call):
            if node.bound.enforced and node.contract.tokens is not None:
                allowance = node.contract.tokens
                left.append({"of": node.place, "left": max(0, allowance - node.tokens), "total": allowance})
        body = {"execution": call.execution, "left": left, "reserved": self.tokens, "used": used}
        if self.used is None:
            body["unsettled"] = True  # nobody said what was used
        call.governance.ledger.record(
            call.session.id, "budget.settled", path=call.path, actor=call.name, body=body
        )  # fmt: skip


class Budget:
    """Refuses a model call whose prompt and answer do not fit what is left, here and in every node above."""

    def __call__(self, call: ModelCall) -> Flow:
        policy, session, budgets = call.governance.policy.budget, call.session, call.governance.budgets
        total = policy.session_tokens
        if total is None and not any(node.contract.tokens for node in _nodes_above(call)):
            result = yield Proceed(call)
            call.spent = usage(result)  # nothing to keep within: the provider's own account is enough
            return result
        call.prompt_tokens = COUNTER.count(call.messages) + COUNTER.options(call.options)
        reservation = Reservation(call, call.prompt_tokens + answer_tokens(call, policy.answer_tokens), total)
        yield Hold(reservation)
        if total is not None:
            reserved = yield Run(lambda: budgets.reserve(session, reservation.tokens, total))
            if not reserved.granted:
                raise reservation.short("the session", reserved.left, total)
        reservation.asked, reservation.used = True, None
        try:
            result = yield Proceed(call)
        except Unavailable as error:
            if not error.facts.get("tries"):  # nobody was asked
                reservation.used = 0
                if total is not None:
                    yield Run(lambda: budgets.settle(session, -reservation.tokens))
            raise
        answered = messages_of(result)
        if answered:  # a stream of events that is only beginning is charged what was reserved
            used = reservation.used = usage(result) or call.prompt_tokens + COUNTER.count(answered)
            if total is not None:
                yield Run(lambda: budgets.settle(session, used - reservation.tokens))
        return result


def _nodes_above(call: ModelCall) -> Iterator[NodeCall]:
    """The node that the call happens in, and every node that this one is a part of."""
    above: Call | None = call
    while above is not None:
        yield above.node
        above = above.node.parent


def answer_tokens(call: ModelCall, otherwise: int) -> int:
    """What all answers to this call may need: so many to each of its prompts."""
    limits = (_number(call, name) for name in ("max_tokens", "max_completion_tokens"))
    each = next((limit for limit in limits if limit), otherwise)
    return each * call.prompts * max(_number(call, "n"), _number(call, "best_of"), 1)


def _number(call: ModelCall, name: str) -> int:
    """A setting of the call, else of its model; 0 where neither says anything."""
    for source in (call.options, vars(call.model)):
        value = source.get(name)
        if type(value) is int and value > 0:
            return value
    return 0


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
