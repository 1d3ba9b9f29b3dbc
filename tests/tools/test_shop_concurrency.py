"""Many at once: one refund, one cancellation, one shop."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier as MultiprocessBarrier
from pathlib import Path
from threading import Barrier

import pytest

from tools.shop import Shop, create_shop
from tools.shop_errors import RefundRefused, ReopenRefused, ShopError
from tools.shop_records import Refund

CALLERS = 50
Crowd = Callable[[], AbstractContextManager[Executor]]
START: Barrier | MultiprocessBarrier


def at_the_start(barrier: Barrier | MultiprocessBarrier) -> None:
    global START
    START = barrier


@contextmanager
def threads() -> Iterator[Executor]:
    at_the_start(Barrier(CALLERS))
    with ThreadPoolExecutor(CALLERS) as pool:
        yield pool


@contextmanager
def processes() -> Iterator[Executor]:
    context = get_context("forkserver")
    context.set_forkserver_preload(["tools.shop"])
    barrier = context.Barrier(CALLERS)
    with ProcessPoolExecutor(CALLERS, mp_context=context, initializer=at_the_start, initargs=(barrier,)) as pool:
        yield pool


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return create_shop(tmp_path / "shop.db")


def refund(path: Path, number: int, *, key: str | None = None) -> Refund | str:
    START.wait(timeout=60)
    try:
        return create_shop(path).refund_order(
            1001, amount_cents=2000, reason=f"caller {number}", key=key and f"{key}{number}"
        )
    except RefundRefused as refusal:
        return str(refusal)


def cancel_or_reopen(path: Path, number: int) -> None:
    START.wait(timeout=60)
    try:
        if number % 2:
            create_shop(path).reopen_order(1002)
        else:
            create_shop(path).cancel_order(1002, reason="changed my mind")
    except ReopenRefused:
        pass


def create_and_refund(path: Path, number: int) -> None:
    START.wait(timeout=60)
    create_shop(path).refund_order(1001, amount_cents=1, reason="one cent each", key=f"desk:{number}")


@pytest.mark.parametrize("crowd", [threads, processes])
def test_fifty_refunds_pay_once(shop: Shop, crowd: Crowd) -> None:
    """Fifty callers who refund one order get one and the same refund."""
    with crowd() as pool:
        outcomes = set(pool.map(partial(refund, shop.path), range(CALLERS)))

    assert {shop.get_refund("refund:1001")} == outcomes
    assert 2000 == shop.get_order(1001).refunded_cents
    assert 1 == [event.kind for event in shop.history(1001)].count("refunded")


def test_fifty_keys_pay_no_more_than_was_paid(shop: Shop) -> None:
    """Under keys of their own, fifty callers together still get no more than the order cost."""
    with threads() as pool:
        outcomes = list(pool.map(partial(refund, shop.path, key="desk:"), range(CALLERS)))

    paid = [outcome for outcome in outcomes if isinstance(outcome, Refund)]
    assert 3 == len(paid)
    assert 6000 == shop.get_order(1001).refunded_cents <= shop.get_order(1001).paid_cents


def test_stock_survives_cancelling_and_reopening(shop: Shop) -> None:
    """However cancellations and reopenings fall, goods are neither lost nor invented."""
    with threads() as pool:
        list(pool.map(partial(cancel_or_reopen, shop.path), range(CALLERS)))

    on_shelf = _stock(shop.path, "LIV-05")
    in_order = 0 if shop.get_order(1002).status == "cancelled" else 6
    assert 70 + 6 == on_shelf + in_order


@pytest.mark.parametrize("crowd", [threads, processes])
def test_many_create_one_shop(tmp_path: Path, crowd: Crowd) -> None:
    """Callers who create a shop at once share it: what each writes is there, and no draft is left."""
    path = tmp_path / "shop.db"

    with crowd() as pool:
        list(pool.map(partial(create_and_refund, path), range(CALLERS)))

    assert CALLERS == create_shop(path).get_order(1001).refunded_cents
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files through /proc")
def test_no_connection_stays_open(shop: Shop) -> None:
    """Served and refused calls alike close the file."""
    before = len(os.listdir("/proc/self/fd"))

    for number in (1001, 1002, 1004, 1009):
        for act in (shop.get_order, shop.history, partial(shop.cancel_order, reason="late")):
            try:
                act(number)
            except ShopError:
                continue

    assert before == len(os.listdir("/proc/self/fd"))


def test_broken_write_leaves_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the history cannot be written, the refund is not written either."""

    def fail(*args: object, **kwargs: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("tools.shop._note", fail)

    with pytest.raises(sqlite3.OperationalError, match="disk"):
        shop.refund_order(1001, amount_cents=500, reason="chipped")

    assert shop.get_refund("refund:1001") is None


def _stock(path: Path, sku: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT stock FROM products WHERE sku = ?", [sku]).fetchone()[0])
