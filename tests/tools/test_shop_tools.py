"""The shop's tools: what a model reads, what it may reach, and the effects they declare."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from governance.contracts import SideEffect, effect_of
from tools.shop import Shop, create_shop, refund_key
from tools.shop_tools import shop_tools

REFUND = {"order_id": 1001, "amount_cents": 2995, "reason": "chipped"}
CANCEL = {"order_id": 1002, "reason": "too late"}


@dataclass
class Session:
    """A shop, its tools and who is authenticated at the moment."""

    shop: Shop
    email: str = ""

    def __post_init__(self) -> None:
        self.tools: dict[str, BaseTool] = {
            tool.name: tool for tool in shop_tools(self.shop, customer_email=lambda: self.email)
        }

    def call(self, name: str, /, **args: Any) -> ToolMessage:
        answer = self.tools[name].invoke({"type": "tool_call", "id": "1", "name": name, "args": args})
        assert isinstance(answer, ToolMessage)
        return answer

    def effect(self, name: str) -> SideEffect:
        found = effect_of(self.tools[name])
        assert found is not None
        return found


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(create_shop(tmp_path / "shop.db"))


@pytest.fixture
def ada(session: Session) -> Session:
    session.email = "Ada@Example.com"
    return session


def test_customer_is_looked_up_with_orders(session: Session) -> None:
    """An authenticated customer comes back with a line for each order."""
    answer = session.call("look_up_customer", email="ada@example.com", postcode="1017 XK")

    assert "success" == answer.status
    assert [
        "authenticated: Ada Lindqvist, ada@example.com",
        "order 1002: paid, ordered 2026-03-01, paid 8940 cents (89.40 EUR)",
        "order 1001: delivered, ordered 2026-02-11, paid 7995 cents (79.95 EUR)",
        "order 1003: delivered, ordered 2025-12-17, paid 8990 cents (89.90 EUR)",
    ] == answer.text.splitlines()


def test_order_tells_what_is_possible(ada: Session) -> None:
    """An order's text ends with what can be done with it today."""
    answer = ada.call("look_up_order", order_id=1001)

    assert [
        "order 1001: delivered 2026-02-16, ordered 2026-02-11",
        "- 1 x Oak cutting board at 29.95 EUR",
        "- 4 x Stoneware bowl at 12.50 EUR",
        "paid: 7995 cents (79.95 EUR); refunded: 0 cents (0.00 EUR)",
        "cancel: not possible, an order can be cancelled only before it is shipped (order 1001 is delivered)",
        "refund: at most 7995 cents (79.95 EUR) until 2026-03-18",
    ] == answer.text.splitlines()


def test_refunded_order_says_so(ada: Session) -> None:
    """After its refund an order offers no further one."""
    ada.call("refund_order", **REFUND)

    answer = ada.call("look_up_order", order_id=1001)

    assert "refund: already made, refunded 2995 cents" in answer.text


@pytest.mark.parametrize(
    ("name", "args"),
    [("look_up_order", {"order_id": 1001}), ("cancel_order", CANCEL), ("refund_order", REFUND)],
)
def test_nobody_is_served_before_authentication(session: Session, name: str, args: dict[str, Any]) -> None:
    """While nobody is authenticated, no order is shown or changed."""
    answer = session.call(name, **args)

    assert "error" == answer.status
    assert answer.text.startswith("refused: a customer is authenticated before any order is touched")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("look_up_order", {}),
        ("cancel_order", {"reason": "late"}),
        ("refund_order", {"reason": "late", "amount_cents": 1}),
    ],
)
@pytest.mark.parametrize("number", [1005, 1006, 9999])
def test_foreign_orders_do_not_exist(ada: Session, name: str, args: dict[str, Any], number: int) -> None:
    """An order of somebody else is answered exactly like one that does not exist."""
    answer = ada.call(name, order_id=number, **args)

    assert f"refused: no such order; came: {number}; possible: one of the customer's own orders" == answer.text


def test_conversation_does_not_change_its_customer(ada: Session) -> None:
    """Once authenticated, nobody else is looked up, even with the right postcode."""
    answer = ada.call("look_up_customer", email="bruno@example.com", postcode="69002")

    assert answer.text.startswith("refused: one conversation serves one customer")


def test_staff_reach_every_order(tmp_path: Path) -> None:
    """Without a customer the tools serve all orders."""
    tools = {tool.name: tool for tool in shop_tools(create_shop(tmp_path / "shop.db"))}

    assert tools["look_up_order"].invoke({"order_id": 1005}).startswith("order 1005: delivered")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"amount_cents": 0}, "refused: amount_cents: Input should be greater than or equal to 1"),
        ({"amount_cents": 29.95}, "refused: amount_cents: Input should be a valid integer"),
        ({"order_id": "all"}, "refused: order_id: Input should be a valid integer"),
        ({"reason": "  "}, "refused: reason: String should have at least 1 character"),
        ({"reason": "x" * 201}, "refused: reason: String should have at most 200 characters"),
        ({"approved": True}, "refused: approved: Extra inputs are not permitted"),
        ({"amount_cents": 8000}, "refused: a refund is at most what was paid less what was refunded"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(ada: Session, args: dict[str, Any], message: str) -> None:
    """A model that sends nonsense reads what was wrong, and nothing is paid."""
    answer = ada.call("refund_order", **REFUND | args)

    assert "error" == answer.status
    assert answer.text.startswith(message)
    assert 1 == len(answer.text.splitlines())
    assert 0 == ada.shop.get_order(1001).refunded_cents


def test_repeated_refund_reads_the_same(ada: Session) -> None:
    """A second identical call answers with the first outcome and pays nothing."""
    first = ada.call("refund_order", **REFUND)

    second = ada.call("refund_order", **REFUND | {"order_id": "1001", "reason": "again"})

    assert first.text == second.text
    assert 2995 == ada.shop.get_order(1001).refunded_cents


def test_tools_work_on_an_event_loop(ada: Session) -> None:
    """The async call gives the same answer as the sync one."""
    answer = asyncio.run(ada.tools["look_up_order"].ainvoke({"order_id": 1002}))

    assert ada.call("look_up_order", order_id=1002).text == answer


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [
        ("look_up_customer", "read", None),
        ("look_up_order", "read", None),
        ("cancel_order", "write", "cancel:{order_id}"),
        ("refund_order", "write", "refund:{order_id}"),
    ],
)
def test_every_tool_declares_its_effect(session: Session, name: str, kind: str, key: str | None) -> None:
    """What a tool does to the world is declared, with its business key."""
    effect = session.effect(name)

    assert (kind, key) == (effect.kind, effect.key)


def test_declared_key_is_the_shops_own(session: Session) -> None:
    """The key that governance sees is the one under which the shop pays once."""
    key = session.effect("refund_order").key

    assert key is not None
    assert refund_key(1001) == key.format(**REFUND)


def test_dry_run_of_a_refund_pays_nothing(ada: Session) -> None:
    """A dry run names the amount, the order and the receiver, and changes nothing."""
    preview = ada.effect("refund_order").dry_run

    assert preview is not None
    assert preview(REFUND).startswith(
        "would refund 2995 cents (29.95 EUR) of order 1001 to ada@example.com, 5000 cents (50.00 EUR) stays"
    )
    assert 0 == ada.shop.get_order(1001).refunded_cents


@pytest.mark.parametrize("amount", [10_000, 10_001])
def test_dry_run_names_the_person_who_decides(session: Session, amount: int) -> None:
    """Above the policy's limit the preview says that a person decides."""
    session.email, preview = "daniel@example.com", session.effect("refund_order").dry_run

    assert preview is not None
    assert (amount > 10_000) == (
        "a person decides" in preview({"order_id": 1012, "amount_cents": amount} | {"reason": "x"})
    )


@pytest.mark.parametrize(
    ("name", "args", "start"),
    [
        ("refund_order", REFUND | {"order_id": 1002}, "refused: an order can be refunded only when"),
        ("refund_order", REFUND | {"order_id": 1005}, "refused: no such order"),
        ("refund_order", {"order_id": 1001}, "refused: amount_cents: Field required"),
        ("cancel_order", CANCEL | {"order_id": 1001}, "refused: an order can be cancelled only before"),
        ("cancel_order", CANCEL, "would cancel order 1002, now paid"),
    ],
)
def test_dry_run_says_what_the_call_would(ada: Session, name: str, args: dict[str, Any], start: str) -> None:
    """A dry run foresees success and refusal alike."""
    preview = ada.effect(name).dry_run

    assert preview is not None
    assert preview(args).startswith(start)


@pytest.mark.parametrize(("name", "args"), [("refund_order", REFUND), ("cancel_order", CANCEL)])
def test_reconcile_finds_what_happened(ada: Session, name: str, args: dict[str, Any]) -> None:
    """Before the effect reconcile finds nothing, after it the very outcome."""
    reconcile = ada.effect(name).reconcile
    assert reconcile is not None
    assert reconcile(args) is None

    outcome = ada.call(name, **args).text

    assert outcome == reconcile(args)


@pytest.mark.parametrize("other", [{"amount_cents": 1}, {"order_id": 1005}, {"order_id": "?"}])
def test_reconcile_takes_no_other_effect_for_its_own(ada: Session, other: dict[str, Any]) -> None:
    """Another amount, another customer's order or nonsense reconciles with nothing."""
    ada.call("refund_order", **REFUND)
    ada.shop.refund_order(1005, amount_cents=2995, reason="chipped")
    reconcile = ada.effect("refund_order").reconcile

    assert reconcile is not None
    assert reconcile(REFUND | other) is None


def test_undo_reopens_even_after_the_session(ada: Session) -> None:
    """A cancellation is taken back when nobody is authenticated any more, and twice is once."""
    outcome, undo = ada.call("cancel_order", **CANCEL), ada.effect("cancel_order").undo
    ada.email = ""

    assert undo is not None
    assert ["order 1002 is paid again"] * 2 == [undo(CANCEL, outcome), undo(CANCEL, outcome.text)]
    assert "paid" == ada.shop.get_order(1002).status


def test_undo_of_a_refusal_touches_nothing(ada: Session) -> None:
    """Undoing a refused call on a foreign order leaves that order cancelled."""
    foreign = CANCEL | {"order_id": 1010}
    outcome, undo = ada.call("cancel_order", **foreign), ada.effect("cancel_order").undo

    assert undo is not None
    assert "nothing was cancelled" == undo(foreign, outcome)
    assert "cancelled" == ada.shop.get_order(1010).status


def test_refunds_have_no_undo(session: Session) -> None:
    """Money that left is never called back silently."""
    assert session.effect("refund_order").undo is None
