"""Tokens and money of model calls: reserve what a call may need, settle with what it used."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from langchain_core.messages import AIMessage

from governance.call import Effect, Flow, Hold, ModelCall, Proceed, Run
from governance.costs import amount, described, limits_of, nodes_above, priced, shown, used_by
from governance.errors import BudgetExceeded, Unavailable
from governance.plane.budgets import Account, Amount, Limit
from governance.tokens import COUNTER


class Reservation:
    """An amount set aside in the allowances of nodes; whatever way the call ends, the difference goes back.

    One event tells how that went, once the model may have been asked: a call that is refused moves nothing.
    """

    def __init__(self, call: ModelCall, need: Amount, limits: list[Limit]) -> None:
        self.call = call
        self.need = need
        self.limits = limits
        self.accounts: dict[Account, Amount] = {}
        """What each account has used, as it was told last."""
        self.asked = False
        self.used: Amount | None = Amount(0)
        """None from the moment the model is asked until it said what it used."""

    def take(self) -> None:
        nodes = list(nodes_above(self.call))
        with self.call.session.lock:
            for node in nodes:
                allowance = node.contract.tokens if node.bound.enforced else None
                if allowance is not None and node.tokens + self.need.tokens > allowance:
                    raise self.short(f"{node.place} has {max(0, allowance - node.tokens)} of {allowance} left")
            for node in nodes:
                node.tokens += self.need.tokens

    def short(self, why: str, *, in_money: bool = False) -> BudgetExceeded:
        may = f"cost {shown(self.need.money)}" if in_money else f"need {self.need.tokens} tokens"
        return BudgetExceeded(f"this call may {may}; {why}", needed=self.need.tokens)

    def short_of(self, limit: Limit) -> BudgetExceeded:
        account, left = limit.account, limit.left(self.accounts[limit.account])
        said = (shown(left), shown(limit.total)) if limit.in_money else (left, limit.total)
        why = f"{account.title} has {said[0]} of {said[1]} left{account.when}"
        return self.short(why, in_money=limit.in_money)

    def release(self) -> None:
        # Where a provider never said what was used, what was reserved counts: it may have been paid.
        used = self.need if self.used is None else self.used
        with self.call.session.lock:
            for node in nodes_above(self.call):
                node.tokens += used.tokens - self.need.tokens
        self.call.spent = used.tokens
        if self.asked:
            self._tell(used)

    def _tell(self, used: Amount) -> None:
        """What was set aside, what was used of it, and what is left wherever there is a limit."""
        call = self.call
        left = [described(limit, self.accounts[limit.account]) for limit in self.limits]
        for node in nodes_above(call):
            if node.bound.enforced and node.contract.tokens is not None:
                allowance = node.contract.tokens
                left.append({"of": node.place, "left": max(0, allowance - node.tokens), "total": allowance})
        body = {"execution": call.execution, "left": left, "reserved": self.need.tokens, "used": used.tokens}
        if self.need.money:
            body["cost"] = shown(used.money)
        if self.used is None:
            body["unsettled"] = True  # nobody said what was used
        call.governance.ledger.record(
            call.session.id, "budget.settled", path=call.path, actor=call.name, body=body
        )  # fmt: skip


class Budget:
    """Refuses a model call whose prompt and answer do not fit what is left, here and in every node above."""

    def __call__(self, call: ModelCall) -> Flow:
        limits = limits_of(call)
        if not limits and not any(node.contract.tokens for node in nodes_above(call)):
            result = yield Proceed(call)
            call.spent = usage(result)  # nothing to keep within: the provider's own account is enough
            return result
        price = priced(call, limits)
        call.prompt_tokens = COUNTER.count(call.messages) + COUNTER.options(call.options)
        answer = answer_tokens(call, call.governance.policy.budget.answer_tokens)
        reservation = Reservation(call, amount(price, call.prompt_tokens, answer), limits)
        yield Hold(reservation)
        yield from self._reserve(reservation)
        reservation.asked, reservation.used = True, None
        try:
            result = yield Proceed(call)
        except Unavailable as error:
            if not error.facts.get("tries"):  # nobody was asked
                reservation.used = Amount(0)
                yield from self._settle(reservation, reservation.used)
            raise
        answered = messages_of(result)
        if answered:  # a stream of events that is only beginning is charged what was reserved
            reservation.used = used_by(call, answered, price)
            yield from self._settle(reservation, reservation.used)
        return result

    def _reserve(self, reservation: Reservation) -> Generator[Effect, Any, None]:
        session, budgets = reservation.call.session, reservation.call.governance.budgets
        if reservation.limits:
            found = yield Run(lambda: budgets.reserve(session, reservation.need, reservation.limits))
            reservation.accounts = found.used
            if found.short is not None:
                raise reservation.short_of(found.short)

    def _settle(self, reservation: Reservation, used: Amount) -> Generator[Effect, Any, None]:
        session, budgets = reservation.call.session, reservation.call.governance.budgets
        if reservation.limits:
            accounts = list(reservation.accounts)
            found = yield Run(lambda: budgets.settle(session, used.less(reservation.need), accounts))
            reservation.accounts = found.used


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
