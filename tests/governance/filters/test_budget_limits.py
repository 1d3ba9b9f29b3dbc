"""Limits of sessions, tenants and all, in tokens and money, for a day, a month or good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata

from governance import Contract, Policy, Sidecar, govern
from governance.errors import BudgetExceeded
from governance.plane.budgets import Account
from governance.plane.explanation import sentence
from governance.policy import TenantPolicy
from governance.policy_budgets import BudgetPolicy, LimitPolicy, PricePolicy
from governance.testing.models import ScriptedChatModel

PRICE = PricePolicy(of="scripted", input=1.0, output=10.0, cached=0.1)


def answered(asked: int, said: int, cached: int = 0) -> AIMessage:
    details = InputTokenDetails(cache_read=cached)
    usage = UsageMetadata(
        input_tokens=asked, output_tokens=said, total_tokens=asked + said, input_token_details=details
    )
    return AIMessage("answer", usage_metadata=usage)


def run_as(session: str, tenant: str | None = None) -> Any:
    return {"configurable": {"thread_id": session, **({"tenant_id": tenant} if tenant else {})}}


@pytest.fixture
def spender(line: Any, sidecar: Sidecar) -> Callable[..., Any]:
    """Makes graphs that ask a model once."""

    def make(*limits: LimitPolicy, says: AIMessage, prices: tuple[PricePolicy, ...] = ()) -> Any:
        model = ScriptedChatModel([says] * 99)

        def node(state: Any) -> Any:
            return {"out": str(model.invoke([HumanMessage("hi")]).content)}

        policy = Policy(
            budget=BudgetPolicy(answer_tokens=100), limit=limits, price=prices, tenants=TenantPolicy(key="tenant_id")
        )
        return govern(line(n=node), contracts={"n": Contract()}, policy=policy, sidecar=sidecar)

    return make


def test_a_tenant_spends_over_all_its_sessions_and_no_other_tenants(spender: Any) -> None:
    graph = spender(LimitPolicy(of="tenant", tokens=250), says=answered(10, 90))
    graph.invoke({"out": ""}, run_as("a", "acme"))
    graph.invoke({"out": ""}, run_as("b", "acme"))

    with pytest.raises(BudgetExceeded, match=r"the tenant acme has 50 of 250 left"):
        graph.invoke({"out": ""}, run_as("c", "acme"))
    graph.invoke({"out": ""}, run_as("c", "emca"))


def test_who_names_no_tenant_shares_one_limit(spender: Any) -> None:
    graph = spender(LimitPolicy(of="tenant", tokens=150), says=answered(10, 90))
    graph.invoke({"out": ""}, run_as("a"))

    with pytest.raises(BudgetExceeded, match="whoever names no tenant has 50 of 150 left"):
        graph.invoke({"out": ""}, run_as("b"))


@pytest.mark.parametrize(
    ("per", "days", "words"),
    [("day", ("2026-11-25", "2026-11-26"), "today"), ("month", ("2026-11", "2026-12"), "this month")],
)
def test_a_new_day_or_month_has_a_limit_of_its_own(
    per: Any, days: tuple[str, str], words: str, spender: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = spender(LimitPolicy(of="all", per=per, tokens=150), says=answered(10, 90))
    monkeypatch.setattr("governance.costs.today", lambda _: days[0])
    graph.invoke({"out": ""}, run_as("a"))
    with pytest.raises(BudgetExceeded, match=rf"everybody together has 50 of 150 left {words}"):
        graph.invoke({"out": ""}, run_as("b"))

    monkeypatch.setattr("governance.costs.today", lambda _: days[1])
    graph.invoke({"out": ""}, run_as("b"))


def test_money_is_counted_by_the_price_of_prompt_cache_and_answer(spender: Any, sidecar: Sidecar, rows: Any) -> None:
    """1,000 tokens of which 400 were cached: 600 at 1, 400 at .1, and 50 at 10 a million."""
    graph = spender(LimitPolicy(of="all", money=1), says=answered(1000, 50, 400), prices=(PRICE,))
    graph.invoke({"out": ""}, run_as("a"))

    [row] = rows("budget")
    assert "0.00114" == row.body["cost"]
    assert [{"of": "all", "left": "0.99886", "total": "1", "money": True}] == row.body["left"]
    assert "which cost 0.00114; all has 0.99886 of 1 (money) left" in sentence(row._asdict(), lambda *_: None)


def test_a_limit_in_money_refuses_what_it_does_not_cover(spender: Any) -> None:
    """An answer of 100 tokens may cost .001."""
    graph = spender(LimitPolicy(of="session", money=0.0015), says=answered(10, 90), prices=(PRICE,))
    graph.invoke({"out": ""}, run_as("a"))

    with pytest.raises(
        BudgetExceeded, match=r"this call may cost 0\.0010\d+; the session has 0\.00059 of 0\.0015 left"
    ):
        graph.invoke({"out": ""}, run_as("a"))


def test_where_money_is_limited_a_model_without_a_price_is_refused(spender: Any) -> None:
    graph = spender(LimitPolicy(of="all", money=1), says=answered(1, 1))

    with pytest.raises(BudgetExceeded, match=r'add a `\[\[price\]\]` of "scripted"'):
        graph.invoke({"out": ""}, run_as("a"))


def test_a_price_may_be_a_pattern_and_the_name_itself_goes_before(spender: Any, rows: Any) -> None:
    prices = (PricePolicy(of="script*", input=5, output=5), PRICE)
    graph = spender(LimitPolicy(of="all", money=1), says=answered(1000, 0), prices=prices)
    graph.invoke({"out": ""}, run_as("a"))

    assert "0.001" == rows("budget")[0].body["cost"]


def test_what_one_limit_refuses_is_taken_from_none(spender: Any, sidecar: Sidecar) -> None:
    limits = (LimitPolicy(of="all", tokens=10_000), LimitPolicy(of="tenant", tokens=50))
    with pytest.raises(BudgetExceeded):
        spender(*limits, says=answered(10, 90)).invoke({"out": ""}, run_as("a", "acme"))

    assert [] == sidecar.control.rows("SELECT * FROM spending")


def test_the_limits_of_a_graph_around_hold_inside(spender: Any, one: Any, sidecar: Sidecar) -> None:
    inner = spender(LimitPolicy(of="all", tokens=100_000), says=answered(10, 90))
    policy = Policy(limit=(LimitPolicy(of="session", tokens=50),))
    outer = govern(one(lambda s: inner.invoke(s)), contracts={"n": Contract()}, policy=policy, sidecar=sidecar)

    with pytest.raises(BudgetExceeded, match="the session has 50 of 50 left"):
        outer.invoke({"out": ""}, run_as("a"))


def test_fifty_branches_never_overspend_and_settle_everything(spender: Any, sidecar: Sidecar) -> None:
    """Ten fit at once by what they may need; some more by what came back."""
    graph = spender(LimitPolicy(of="tenant", per="month", tokens=1100), says=answered(10, 40))

    async def all_at_once() -> list[Any]:
        runs = (graph.ainvoke({"out": ""}, run_as(f"s{number}", "acme")) for number in range(50))
        return await asyncio.gather(*runs, return_exceptions=True)

    ended = asyncio.run(all_at_once())
    done = [one for one in ended if not isinstance(one, BaseException)]
    [(used, money)] = sidecar.control.rows("SELECT tokens, money FROM spending")
    assert all(isinstance(one, BudgetExceeded) for one in ended if isinstance(one, BaseException))
    assert 9 <= len(done) and (50 * len(done), 0) == (used, money) and used <= 1100


def test_only_the_present_day_of_an_account_is_kept(spender: Any, sidecar: Sidecar, monkeypatch: Any) -> None:
    graph = spender(LimitPolicy(of="all", per="day", tokens=1000), says=answered(10, 40))
    for day in ("2026-11-24", "2026-11-25"):
        monkeypatch.setattr("governance.costs.today", lambda _, day=day: day)
        graph.invoke({"out": ""}, run_as(day))

    assert [("all:*", "2026-11-25")] == sidecar.control.rows("SELECT account, period FROM spending")


def test_an_account_says_whose_it_is() -> None:
    titles = [Account(of, "x").title for of in ("session", "tenant", "all")]

    assert ["the session", "the tenant x", "everybody together"] == titles


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"of": "agent", "tokens": 1}, "of must be one of session, tenant, all"),
        ({"per": "week", "tokens": 1}, "per must be day or month"),
        ({}, "either tokens or money"),
        ({"tokens": 1, "money": 1.0}, "either tokens or money"),
    ],
)
def test_a_limit_that_says_nothing_clear_is_refused(wrong: Any, expected: str) -> None:
    with pytest.raises(RuntimeError, match=expected):
        LimitPolicy(**wrong)
