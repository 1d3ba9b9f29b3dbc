"""The ledger's writer: groups, acknowledgements, forks, threads and loops, a broken disk, bounded memory."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from governance.errors import LedgerError
from governance.plane.ledger import Ledger
from governance.plane.ledger_file import HEADS_KEPT, LedgerFile
from governance.plane.ledger_rows import Head, event_hash
from governance.plane.waiting import EVENTS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "below" / "ledger.db")
    yield made
    made.close()


def stored(ledger: Ledger) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(ledger.path)
    try:
        return db.execute(
            "SELECT session,n,g,ts,kind,path,actor,body,prev,hash FROM events ORDER BY session,n"
        ).fetchall()
    finally:
        db.close()


def holds(rows: list[tuple[Any, ...]]) -> bool:
    """Whether every session's chain is whole, by a second reading of the rule in the module's docstring."""
    last: dict[str, tuple[int, str]] = {}
    for session, n, g, ts, kind, path, actor, body, prev, digest in rows:
        before, before_hash = last.get(session, (0, ""))
        if n != before + 1 or prev != before_hash:
            return False
        if event_hash(prev, session, n, g, ts, kind, path, actor, body) != digest:
            return False
        last[session] = n, digest
    return True


def test_nothing_is_opened_before_the_first_event(ledger: Ledger) -> None:
    assert not ledger.path.parent.exists()
    assert ledger.head("s") is None


def test_a_flush_is_an_acknowledgement_that_everything_before_it_is_on_disk(ledger: Ledger) -> None:
    for n in range(300):
        ledger.record("s", "x", body={"n": n})
    ledger.flush()

    assert 300 == len(stored(ledger))
    assert holds(stored(ledger))


def test_an_async_flush_does_not_block_its_loop(ledger: Ledger) -> None:
    async def work() -> None:
        ledger.record("s", "x")
        await asyncio.gather(ledger.aflush(), ledger.aflush())

    asyncio.run(work())

    assert 1 == len(stored(ledger))


def test_events_without_a_flush_are_written_all_the_same(ledger: Ledger) -> None:
    ledger.record("s", "x")
    ledger.close()

    assert 1 == len(stored(ledger))


def test_a_closed_ledger_starts_again(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.record("s", "x")
        ledger.close()
        ledger.close()

    assert [1, 2, 3] == [row[1] for row in stored(ledger)]
    assert holds(stored(ledger))


def test_many_events_are_committed_in_few_groups(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    append = LedgerFile.append
    monkeypatch.setattr(
        LedgerFile,
        "append",
        lambda self, events, durable: (sizes.append(len(events)), append(self, events, durable=durable)),
    )
    for _ in range(1000):
        ledger.record("s", "x")
    ledger.flush()

    assert 1000 == sum(sizes)
    assert len(sizes) < 100


def test_who_no_longer_waits_does_not_end_the_writer(ledger: Ledger) -> None:
    """A node that runs out of time cancels what it waited for; the record goes on."""
    for _ in range(20):
        ledger.record("s", "x")
        ledger.flushed().cancel()
    ledger.flush()

    assert 20 == len(stored(ledger))


def test_threads_and_loops_write_one_whole_chain_each(ledger: Ledger) -> None:
    async def loops(name: str) -> None:
        for _ in range(50):
            ledger.record(name, "x")
            await asyncio.sleep(0)
        await ledger.aflush()

    def works(name: str) -> None:
        for _ in range(50):
            ledger.record(name, "x")
            ledger.record("shared", name)
        asyncio.run(loops(name))

    threads = [threading.Thread(target=works, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.flush()

    assert 8 * 150 == len(stored(ledger))
    assert holds(stored(ledger))


def test_two_ledgers_on_one_file_keep_one_chain(ledger: Ledger) -> None:
    """As two processes would: neither believes the head it remembers."""
    other = Ledger(ledger.path)
    for one in (ledger, other) * 5:
        one.record("s", "x")
        one.flush()
    other.close()

    assert 10 == len(stored(ledger))
    assert holds(stored(ledger))


def test_a_ledger_too_far_behind_is_as_good_as_broken(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "wake", lambda: None)  # nobody writes
    for _ in range(EVENTS + 1):
        ledger.queue.append(("s", 0, "x", "", "", {}))

    with pytest.raises(LedgerError, match=r"events with 0 bytes wait for .*: the disk is too slow"):
        ledger.check()
    ledger.queue.clear()


def test_heads_of_many_sessions_are_not_all_remembered(ledger: Ledger) -> None:
    file = LedgerFile(ledger.path)
    for first in range(0, 5000, 100):
        file.append([(f"s{n}", 0, "x", "", "", "{}", 0) for n in range(first, first + 100)], durable=False)
    file.append([("s0", 0, "x", "", "", "{}", 0)], durable=True)

    assert len(file._heads) <= HEADS_KEPT
    assert Head(2, stored(ledger)[1][9], 0) == ledger.head("s0")
    file.close()


def test_a_head_counts_what_the_session_has_spent(ledger: Ledger) -> None:
    ledger.record("s", "x", tokens=7)
    ledger.record("s", "x", body={"tokens": 5})
    ledger.record("s", "x", body={"tokens": "many"})
    ledger.flush()
    head = ledger.head("s")

    assert head is not None
    assert (3, 12) == (head.n, head.tokens)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_a_value_that_cannot_be_written_down_is_named_and_stops_nobody(ledger: Ledger) -> None:
    ledger.record("s", "x", body={"value": Hostile(), "tokens": 3})
    ledger.record("s", "y")
    ledger.flush()

    assert ["x", "y"] == [row[4] for row in stored(ledger)]
    assert "unrecordable" in stored(ledger)[0][7]
    assert ledger.broken is None
