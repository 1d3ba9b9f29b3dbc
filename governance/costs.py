"""What a model call may spend from and what it costs: the limits that hold for it, its price, its own account."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from governance.call import Call, ModelCall, NodeCall
from governance.errors import BudgetExceeded
from governance.plane.budgets import UNITS_PER_MONEY, Account, Amount, Limit, today
from governance.policy_budgets import LimitPolicy, PricePolicy, price_of
from governance.tenants import tenant_of
from governance.tokens import COUNTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from governance.policy import Policy

A_MILLION = 1_000_000
"""Tokens that prices are for."""


def nodes_above(call: ModelCall) -> Iterator[NodeCall]:
    """The node that the call happens in, and every node that this one is a part of."""
    above: Call | None = call
    while above is not None:
        yield above.node
        above = above.node.parent


def limits_of(call: ModelCall) -> list[Limit]:
    """Every limit that the call spends from: of the policy it runs under, and of those around it."""
    found: dict[tuple[Account, bool], Limit] = {}
    seen: list[Policy] = []
    for node in nodes_above(call):
        policy = node.governance.policy
        if policy.limits and node.governance.enforcing and not any(policy is one for one in seen):
            seen.append(policy)
            for rule in policy.limits:
                limit = limited(rule, call)
                known = found.get((limit.account, limit.in_money))
                if known is None or limit.total < known.total:
                    found[limit.account, limit.in_money] = limit
    return list(found.values())


def limited(rule: LimitPolicy, call: ModelCall) -> Limit:
    name = {"session": call.session.id, "all": "*"}.get(rule.of)
    account = Account(rule.of, tenant_of(call) if name is None else name, today(rule.per))
    if rule.money is not None:
        return Limit(account, round(rule.money * UNITS_PER_MONEY), in_money=True)
    assert rule.tokens is not None
    return Limit(account, rule.tokens)


def priced(call: ModelCall, limits: list[Limit]) -> PricePolicy | None:
    """What the model costs; refuses one whose cost nobody knows where money is limited."""
    prices = call.governance.policy.price
    price = price_of(call.name, prices) if prices else None
    if price is None and any(limit.in_money for limit in limits):
        raise BudgetExceeded(
            f"nobody has set what {call.name} costs, and money is limited here; "
            f'add a `[[price]]` of "{call.name}" with `input` and `output` for a million tokens to the policy',
            model=call.name,
        )
    return price


def amount(price: PricePolicy | None, asked: int, answered: int, cached: int = 0) -> Amount:
    """Tokens of a prompt and its answer, with what they cost."""
    if price is None:
        return Amount(asked + answered)
    known = price.input if price.cached is None else price.cached
    cost = (asked - cached) * price.input + cached * known + answered * price.output
    return Amount(asked + answered, math.ceil(cost * UNITS_PER_MONEY / A_MILLION))


def used_by(call: ModelCall, answered: list[Any], price: PricePolicy | None) -> Amount:
    """By the provider's own account; where it gives none, by our count."""
    total = asked = cached = 0
    for message in answered:
        said = getattr(message, "usage_metadata", None) or {}
        total += int(said.get("total_tokens", 0))
        asked += int(said.get("input_tokens", 0))
        cached += int((said.get("input_token_details") or {}).get("cache_read") or 0)
    if not total:
        return amount(price, call.prompt_tokens, COUNTER.count(answered))
    return amount(price, asked, total - asked, min(cached, asked))


def described(limit: Limit, used: Amount) -> dict[str, Any]:
    """A limit as a row of the ledger has it."""
    account, left = limit.account, limit.left(used)
    said: dict[str, Any] = {"of": account.key if account.of == "tenant" else account.of}
    if account.period:
        said["in"] = account.period
    if limit.in_money:
        return {**said, "left": shown(left), "total": shown(limit.total), "money": True}
    return {**said, "left": left, "total": limit.total}


def shown(money: int) -> str:
    """Money as a text without an exponent, to the last billionth that counts."""
    return f"{money / UNITS_PER_MONEY:.9f}".rstrip("0").rstrip(".")
