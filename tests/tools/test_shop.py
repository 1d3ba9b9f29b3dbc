"""The shop's rules hold, and every refusal changes nothing and says what is possible."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tools.shop import Shop, create_shop
from tools.shop_errors import (
    CancelRefused,
    InvalidRequest,
    NotAShop,
    NotAuthenticated,
    RefundConflict,
    RefundNotDue,
    RefundTooLarge,
    RefundWindowClosed,
    ReopenRefused,
    ShopError,
    UnknownOrder,
)

PAID, SHIPPED, DELIVERED = 1002, 1004, 1001
LAST_DAY, DAY_TOO_LATE = 1008, 1009
LOST, CANCELLED, NEVER_PAID = 1011, 1010, 1037
SOLD_OUT, PARTLY_REFUNDED = 1029, 1014


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return create_shop(tmp_path / "shop.db")


def count(shop: Shop, table: str) -> int:
    with closing(sqlite3.connect(shop.path)) as connection:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


@pytest.mark.parametrize(("table", "rows"), [("customers", 12), ("products", 25), ("orders", 40)])
def test_seed_is_the_committed_one(shop: Shop, table: str, rows: int) -> None:
    """A new shop holds the committed customers, products and orders."""
    found = count(shop, table)

    assert rows == found


def test_seeded_lines_add_up_to_what_was_paid(shop: Shop) -> None:
    """Every paid order was paid in full, and no refund exceeds it."""
    for number in range(1001, 1041):
        order = shop.get_order(number)
        total = sum(line.quantity * line.unit_cents for line in order.lines)

        assert order.paid_cents in (0, total)
        assert order.refundable_cents >= 0


def test_create_opens_what_is_there(shop: Shop) -> None:
    """Creating a shop where one stands keeps what happened in it."""
    shop.cancel_order(PAID, reason="too late")

    again = create_shop(shop.path)

    assert "cancelled" == again.get_order(PAID).status


def test_create_makes_missing_folders(tmp_path: Path) -> None:
    """A shop brings its folder along and leaves nothing else in it."""
    shop = create_shop(tmp_path / "a" / "b" / "shop.db")

    assert [shop.path] == list(shop.path.parent.iterdir())


@pytest.mark.parametrize("content", [b"", b"not a database, whatever its name says"])
def test_other_files_are_left_alone(tmp_path: Path, content: bytes) -> None:
    """A file that is no shop is refused and keeps its content."""
    path = tmp_path / "notes.db"
    path.write_bytes(content)

    with pytest.raises(NotAShop, match="name another path"):
        create_shop(path)

    assert content == path.read_bytes()


def test_deleted_shop_does_not_come_back_empty(shop: Shop) -> None:
    """Using a shop whose file is gone fails and creates no file."""
    shop.path.unlink()

    with pytest.raises(sqlite3.OperationalError):
        shop.get_order(PAID)

    assert not shop.path.exists()


def test_customer_is_known_by_email_and_postcode(shop: Shop) -> None:
    """Case and blanks of email and postcode do not matter."""
    customer = shop.find_customer(" ADA@Example.com", postcode="1017xk")

    assert "Ada Lindqvist" == customer.name


@pytest.mark.parametrize(
    ("email", "postcode"),
    [("ada@example.com", "1017 XL"), ("nobody@example.com", "1017 XK"), ("ada@example.com", ""), ("%", "%")],
)
def test_wrong_pair_tells_nothing(shop: Shop, email: str, postcode: str) -> None:
    """A wrong email and a wrong postcode get the same answer."""
    with pytest.raises(NotAuthenticated) as caught:
        shop.find_customer(email, postcode=postcode)

    assert "a pair that does not match" == caught.value.came


def test_orders_come_newest_first(shop: Shop) -> None:
    """A customer's orders are listed from the newest to the oldest."""
    found = [order.id for order in shop.list_orders("ada@example.com")]

    assert [1002, 1001, 1003] == found


def test_cancel_restocks(shop: Shop) -> None:
    """Cancelling puts the goods back, so that the last pair of shears can be sold again."""
    with pytest.raises(ReopenRefused, match="Pruning shears"):
        shop.reopen_order(SOLD_OUT)
    shop.cancel_order(1028, reason="not needed")

    with pytest.raises(ReopenRefused, match="Pruning shears"):
        shop.reopen_order(SOLD_OUT)

    assert "packed" == shop.reopen_order(1028).status


def test_second_cancel_returns_the_first(shop: Shop) -> None:
    """A repeated cancellation changes nothing and returns what the first one did."""
    first = shop.cancel_order(PAID, reason="too late")

    second = shop.cancel_order(PAID, reason="other words")

    assert first == second
    assert ["ordered", "cancelled"] == [event.kind for event in shop.history(PAID)]


def test_reopen_takes_a_cancellation_back(shop: Shop) -> None:
    """A reopened order is as it was, and may be cancelled again."""
    before = shop.get_order(PAID)
    shop.cancel_order(PAID, reason="too late")

    after = shop.reopen_order(PAID)

    assert before == after
    assert "once more" == shop.cancel_order(PAID, reason="once more").reason


def test_refunded_order_stays_cancelled(shop: Shop) -> None:
    """A cancelled order is not reopened once its money went back."""
    shop.refund_order(CANCELLED, amount_cents=9450, reason="cancelled")

    with pytest.raises(ReopenRefused, match=r"94\.50 EUR refunded"):
        shop.reopen_order(CANCELLED)


@pytest.mark.parametrize("number", [DELIVERED, LOST, CANCELLED, LAST_DAY])
def test_refund_is_written(shop: Shop, number: int) -> None:
    """Delivered, lost and cancelled orders are refunded up to the last day of the window."""
    refund = shop.refund_order(number, amount_cents=500, reason="as agreed")

    assert refund == shop.get_refund(f"refund:{number}")
    assert 500 == shop.get_order(number).refunded_cents


def test_second_refund_returns_the_first(shop: Shop) -> None:
    """The same refund asked twice is paid once, whatever words come with it."""
    first = shop.refund_order(DELIVERED, amount_cents=500, reason="chipped")

    second = shop.refund_order(DELIVERED, amount_cents=500, reason="a bowl is broken")

    assert first == second
    assert 500 == shop.get_order(DELIVERED).refunded_cents


def test_further_refund_needs_a_key_of_its_own(shop: Shop) -> None:
    """A person may refund the rest of an order under another business key."""
    shop.refund_order(DELIVERED, amount_cents=500, reason="chipped")

    shop.refund_order(DELIVERED, amount_cents=7495, reason="goodwill", key="desk:1")

    assert 0 == shop.get_order(DELIVERED).refundable_cents


def test_earlier_refunds_count(shop: Shop) -> None:
    """Everything that was paid back before lowers what is possible."""
    with pytest.raises(RefundTooLarge, match="at most 2940 cents"):
        shop.refund_order(PARTLY_REFUNDED, amount_cents=2941, reason="broken")


def test_window_is_the_policys(shop: Shop) -> None:
    """A wider window in the policy opens what the usual one refuses."""
    generous = replace(shop, policy=replace(shop.policy, refund_window_days=31))

    refund = generous.refund_order(DAY_TOO_LATE, amount_cents=500, reason="goodwill")

    assert shop.today() == refund.refunded_on


def test_seed_stands_on_the_windows_edge(shop: Shop) -> None:
    """One seeded order is on its last day, another a day past it."""
    window = timedelta(days=shop.policy.refund_window_days)

    assert shop.today() - window == shop.get_order(LAST_DAY).refund_due_on
    assert shop.today() - window - timedelta(days=1) == shop.get_order(DAY_TOO_LATE).refund_due_on


@pytest.mark.parametrize(
    ("act", "refusal"),
    [
        (lambda shop: shop.get_order(9), UnknownOrder),
        (lambda shop: shop.cancel_order(9, reason="gone"), UnknownOrder),
        (lambda shop: shop.refund_order(9, amount_cents=1, reason="gone"), UnknownOrder),
        (lambda shop: shop.cancel_order(SHIPPED, reason="late"), CancelRefused),
        (lambda shop: shop.cancel_order(DELIVERED, reason="late"), CancelRefused),
        (lambda shop: shop.cancel_order(LOST, reason="late"), CancelRefused),
        (lambda shop: shop.cancel_order(PAID, reason=" \n "), InvalidRequest),
        (lambda shop: shop.cancel_order(PAID, reason="x" * 201), InvalidRequest),
        (lambda shop: shop.reopen_order(PAID), ReopenRefused),
        (lambda shop: shop.refund_order(DELIVERED, amount_cents=0, reason="late"), InvalidRequest),
        (lambda shop: shop.refund_order(DELIVERED, amount_cents=-500, reason="late"), InvalidRequest),
        (lambda shop: shop.refund_order(DELIVERED, amount_cents=0.5, reason="late"), InvalidRequest),
        (lambda shop: shop.refund_order(DELIVERED, amount_cents=True, reason="late"), InvalidRequest),
        (lambda shop: shop.refund_order(DELIVERED, amount_cents=7996, reason="late"), RefundTooLarge),
        (lambda shop: shop.refund_order(NEVER_PAID, amount_cents=1, reason="late"), RefundTooLarge),
        (lambda shop: shop.refund_order(PAID, amount_cents=1, reason="late"), RefundNotDue),
        (lambda shop: shop.refund_order(SHIPPED, amount_cents=1, reason="late"), RefundNotDue),
        (lambda shop: shop.refund_order(DAY_TOO_LATE, amount_cents=1, reason="late"), RefundWindowClosed),
    ],
)
def test_refusals_change_nothing(shop: Shop, act: Callable[[Shop], object], refusal: type[ShopError]) -> None:
    """A violated rule raises its own error, on one line, and the books stay as they were."""
    before = [count(shop, table) for table in ("refunds", "events")]

    with pytest.raises(refusal) as caught:
        act(shop)

    assert before == [count(shop, table) for table in ("refunds", "events")]
    assert 1 == len(str(caught.value).splitlines())
    assert caught.value.possible in str(caught.value)


@pytest.mark.parametrize("other", [{"amount_cents": 501}, {"order_id": 1027}])
def test_key_cannot_be_reused(shop: Shop, other: dict[str, int]) -> None:
    """A business key that was paid refuses another amount and another order."""
    asked = {"order_id": DELIVERED, "amount_cents": 500}
    shop.refund_order(**asked, reason="chipped", key="k")

    with pytest.raises(RefundConflict, match="after 500 cents for order 1001"):
        shop.refund_order(**asked | other, reason="chipped", key="k")


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("INSERT INTO refunds VALUES ('k', 1001, 7996, 'x', '2026-03-02')", "at most what was paid"),
        ("INSERT INTO refunds VALUES ('k', 1001, -1, 'x', '2026-03-02')", "at most what was paid"),
        ("UPDATE refunds SET amount_cents = 1", "refunds are never changed"),
        ("DELETE FROM refunds", "refunds are never changed"),
        ("DELETE FROM events", "events are never changed"),
    ],
)
def test_file_itself_refuses(shop: Shop, sql: str, rule: str) -> None:
    """Code that goes round the shop still cannot overpay or rewrite its books."""
    with closing(sqlite3.connect(shop.path)) as connection, pytest.raises(sqlite3.Error, match=rule):
        connection.execute(sql)
