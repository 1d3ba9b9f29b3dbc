"""Items with a time to live end, and not a minute before; no test here waits for that."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from memory import TieredStore


def test_an_expired_item_is_swept_with_all_that_finds_it(by_words: TieredStore, clock: Any) -> None:
    by_words.put(("a",), "short", {"text": "soon gone"}, ttl=1)
    by_words.put(("a",), "long", {"text": "soon gone, not yet"}, ttl=9)
    clock.pass_minutes(2)

    swept = by_words.sweep_ttl()

    assert (1, ["long"]) == (swept, [one.key for one in by_words.search(("a",), query="gone")])


def test_what_has_expired_can_be_hidden_before_it_is_swept(file: Path, clock: Any) -> None:
    with TieredStore(file, ttl={"default_ttl": 1, "omit_expired": True}, clock=clock) as store:
        store.put(("a",), "k", {"text": "here today"})
        clock.pass_minutes(2)

        hidden = (
            store.get(("a",), "k"),
            store.search(("a",)),
            store.search(("a",), query="today"),
            store.list_namespaces(),
        )

    assert (None, [], [], []) == hidden


def test_reading_puts_off_the_end_where_the_configuration_says_so(file: Path, clock: Any) -> None:
    with TieredStore(file, ttl={"default_ttl": 10, "refresh_on_read": True}, clock=clock) as store:
        store.put(("a",), "read", {"text": "x"})
        store.put(("a",), "unread", {"text": "y"})
        clock.pass_minutes(6)
        store.search(("a",), filter={"text": "x"})
        clock.pass_minutes(6)
        store.sweep_ttl()

        assert ["read"] == [one.key for one in store.search(("a",))]


@pytest.mark.parametrize("ttl", [-1.0, float("nan"), float("inf")])
def test_a_time_to_live_that_is_none_is_refused(by_words: TieredStore, ttl: float) -> None:
    by_words.put(("a",), "long", {"text": "x"}, ttl=1e300)

    with pytest.raises(ValueError, match="how many minutes"):
        by_words.put(("a",), "k", {"text": "x"}, ttl=ttl)


def test_the_sweeper_goes_on_after_a_sweep_that_failed(by_words: TieredStore, monkeypatch: Any) -> None:
    swept = threading.Semaphore(0)

    def failing() -> int:
        swept.release()
        raise OSError("disk")

    monkeypatch.setattr(by_words._sweeper, "_sweep", failing)
    by_words.start_ttl_sweeper(1e-6)
    for _ in range(3):
        assert swept.acquire(timeout=60)

    assert by_words.stop_ttl_sweeper()
