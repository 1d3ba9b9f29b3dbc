"""A disk that is too slow: memory stays bounded, enforce mode waits and then refuses, observe mode counts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from governance import Contract, Sidecar, govern
from governance.errors import LedgerError
from governance.plane import waiting
from governance.plane.ledger import Ledger
from governance.plane.ledger_file import LedgerFile
from governance.plane.verify import verify


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that stands still until it is opened, and a queue that holds little."""
    opened, append = threading.Event(), LedgerFile.append

    def slow(self: LedgerFile, events: Any, *, durable: bool) -> Any:
        opened.wait(30)
        return append(self, events, durable=durable)

    monkeypatch.setattr(LedgerFile, "append", slow)
    monkeypatch.setattr(waiting, "EVENTS", 10)
    monkeypatch.setattr("governance.filters.record.QUEUE_LIMIT", 10)
    yield opened
    opened.set()


def filled(sidecar: Sidecar) -> None:
    sidecar.ledger.record("s", "x")
    while sidecar.ledger.queue:
        time.sleep(0.01)  # the writer has taken it, and stands
    for _ in range(20):
        sidecar.ledger.record("s", "x")
    assert sidecar.ledger.behind


def kinds(sidecar: Sidecar) -> list[str]:
    sidecar.ledger.flush()
    with sidecar.ledger.store().reader() as reader:
        return [kind for (kind,) in reader.rows("SELECT kind FROM events ORDER BY ts, n")]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_enforce_mode_goes_on_when_the_disk_has_caught_up(gate: Any, sidecar: Sidecar, line: Any, mode: str) -> None:
    graph = govern(line(n=lambda state: {"out": "x"}), contracts={"n": Contract()}, sidecar=sidecar)
    gate.set()
    graph.invoke({"out": ""})
    gate.clear()
    filled(sidecar)
    threading.Timer(0.3, gate.set).start()

    started = time.monotonic()
    found = graph.invoke({"out": ""}) if mode == "sync" else asyncio.run(graph.ainvoke({"out": ""}))

    assert "x" == found["out"]
    assert time.monotonic() - started >= 0.2
    assert 2 == kinds(sidecar).count("node.ended")


def test_enforce_mode_refuses_when_it_has_waited_long_enough(gate: Any, sidecar: Sidecar, line: Any) -> None:
    ran: list[int] = []
    graph = govern(line(n=lambda state: ran.append(1)), contracts={"n": Contract()}, sidecar=sidecar)
    gate.set()
    graph.invoke({"out": ""})
    gate.clear()
    filled(sidecar)
    sidecar.ledger.patience = 0.1

    with pytest.raises(LedgerError, match="the disk is too slow") as caught:
        graph.invoke({"out": ""})

    assert ("ledger-behind", [1]) == (caught.value.code, ran)
    gate.set()


def test_waiting_does_not_hold_the_event_loop(gate: Any, sidecar: Sidecar, line: Any) -> None:
    graph = govern(line(n=lambda state: {"out": "x"}), contracts={"n": Contract()}, sidecar=sidecar)
    gate.set()
    graph.invoke({"out": ""})
    gate.clear()
    filled(sidecar)

    async def work() -> int:
        ticks = 0
        run = asyncio.create_task(graph.ainvoke({"out": ""}))
        while ticks < 20:
            await asyncio.sleep(0.01)
            ticks += 1
        gate.set()
        await run
        return ticks

    assert 20 == asyncio.run(work())


def test_observe_mode_leaves_rows_out_and_says_how_many(gate: Any, sidecar: Sidecar, line: Any) -> None:
    graph = govern(line(n=lambda state: {"out": "x"}), sidecar=sidecar)
    filled(sidecar)
    for _ in range(3):
        graph.invoke({"out": ""})
    gate.set()
    found = kinds(sidecar)

    assert 0 == sum(kind.startswith("node.") for kind in found)
    sidecar.ledger.record("s", "x")
    assert "ledger.dropped" in kinds(sidecar)
    with sidecar.ledger.store().reader() as reader:
        bodies = [body for (body,) in reader.rows("SELECT body FROM events WHERE kind='ledger.dropped'")]
    assert 6 == sum(int(body.partition('"events":')[2].partition(",")[0]) for body in bodies)
    assert verify(sidecar.ledger.path).ok


def test_large_bodies_and_payloads_count_by_their_size(
    gate: Any, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "BYTES", 10_000)
    sidecar.ledger.record("s", "x", payloads={"input": "y" * 6000})
    assert not sidecar.ledger.behind
    sidecar.ledger.record("s", "x", body={"text": "y" * 6000})
    assert sidecar.ledger.behind
    gate.set()
    sidecar.ledger.flush()

    assert not sidecar.ledger.behind
    assert 0 == sidecar.ledger.room.bytes


def test_memory_is_given_back_when_the_disk_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file" / "ledger.db")
    ledger.record("s", "x", payloads={"input": "y" * 6000})
    with pytest.raises(LedgerError):
        ledger.flush()

    assert 0 == ledger.room.bytes
    ledger.close()


def test_room_counts_from_many_threads() -> None:
    room = waiting.Room()

    def work() -> None:
        for _ in range(5000):
            room.take(3)
            room.give(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 4 * 5000 * 2 == room.bytes
