"""A server that is away for longer than a moment: nothing runs unrecorded, nothing acknowledged is lost or doubled."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool

from benchmarks.postgres import Server, empty_schema, machine
from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import LedgerError
from governance.plane import ledger_postgres
from governance.plane.absence import Absence
from governance.plane.ledger import Ledger
from governance.plane.ledger_postgres import PostgresStore
from governance.plane.ledger_store import AWAY
from governance.plane.verify import verify


@pytest.fixture(scope="module")
def machinery() -> Iterator[Server]:
    with machine() as made:
        yield made


@pytest.fixture
def server(machinery: Server) -> Iterator[Server]:
    """A server that this test may stop."""
    machinery.start()
    yield machinery
    machinery.start()


@pytest.fixture
def place(server: Server) -> str:
    return empty_schema(server.url)


def numbers(place: str) -> Counter[int]:
    """How often each event that a test has numbered is on record."""
    with Ledger(place).store().reader() as reader:
        bodies = [json.loads(body) for (body,) in reader.rows("SELECT body FROM events")]
    return Counter(body["n"] for body in bodies if "n" in body)


def kinds(place: str) -> list[str]:
    with Ledger(place).store().reader() as reader:
        return [kind for (kind,) in reader.rows("SELECT kind FROM events ORDER BY ts")]


def note(ledger: Ledger, n: int) -> Future[None]:
    ledger.record("s", "x", body={"n": n})
    return ledger.flushed()


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_who_waits_is_answered_when_the_server_is_back(server: Server, place: str, how: str) -> None:
    ledger = Ledger(place)
    note(ledger, 1).result()
    server.stop(how)
    asked = note(ledger, 2)
    time.sleep(0.5)
    assert not asked.done()

    server.start()
    asked.result(15)
    ledger.close()

    assert ({1: 1, 2: 1}, True) == (dict(numbers(place)), verify(place).ok)
    assert "ledger.away" in kinds(place)


def test_after_its_patience_it_refuses_and_when_the_server_is_back_it_goes_on(
    server: Server, place: str, tmp_path: Path, line: Any
) -> None:
    ran: list[int] = []
    ledger = Ledger(place, patience=0.4)
    sidecar = Sidecar(ledger=ledger, control=tmp_path / "control.db")
    graph = govern(line(n=lambda state: ran.append(1)), contracts={"n": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""})
    ledger.flush()
    server.stop()
    with pytest.raises(LedgerError, match="runs go on once its server is back") as caught:
        note(ledger, 1).result(15)
    for _ in range(2):
        with pytest.raises(LedgerError) as refused:
            graph.invoke({"out": ""})
    assert (AWAY, AWAY, [1]) == (caught.value.code, refused.value.code, ran)

    server.start()
    until = time.monotonic() + 15
    while ledger.broken is not None and time.monotonic() < until:
        time.sleep(0.05)
    graph.invoke({"out": ""})
    sidecar.close()

    assert [1, 1] == ran
    assert ({1: 1}, True) == (dict(numbers(place)), verify(place).ok)
    assert 2 == kinds(place).count("node.ended")


def test_a_node_waits_for_a_server_that_comes_back_in_time(
    server: Server, place: str, tmp_path: Path, line: Any
) -> None:
    ledger = Ledger(place, patience=15)
    sidecar = Sidecar(ledger=ledger, control=tmp_path / "control.db")
    graph = govern(line(n=lambda state: {"out": "x"}), contracts={"n": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""})
    server.stop()
    note(ledger, 1)
    until = time.monotonic() + 15
    while ledger.absence is None and time.monotonic() < until:
        time.sleep(0.01)
    ran: list[Any] = []
    run = threading.Thread(target=lambda: ran.append(graph.invoke({"out": ""})))
    run.start()
    time.sleep(0.5)
    assert [] == ran

    server.start()
    run.join(20)
    sidecar.close()

    assert (["x"], True) == ([state["out"] for state in ran], verify(place).ok)


def test_no_effect_starts_while_nobody_can_put_its_intent_on_record(
    server: Server, place: str, tmp_path: Path, line: Any
) -> None:
    """The server goes while the node runs."""
    paid: list[int] = []

    @declares(SideEffect("write"))
    @tool
    def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    def node(state: Any) -> Any:
        server.stop()
        return {"out": pay.invoke({"amount": 1})}

    sidecar = Sidecar(ledger=Ledger(place, patience=0.3), control=tmp_path / "control.db")
    graph = govern(line(n=node), contracts={"n": Contract(tools=["pay"], processes=True)}, sidecar=sidecar)
    with pytest.raises(LedgerError) as refused:
        graph.invoke({"out": ""})
    server.start()
    sidecar.close()

    assert (AWAY, []) == (refused.value.code, paid)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_observe_mode_goes_on_and_its_rows_are_written_later(
    server: Server, place: str, tmp_path: Path, line: Any
) -> None:
    ledger = Ledger(place, patience=0.2)
    sidecar = Sidecar(ledger=ledger, control=tmp_path / "control.db")
    graph = govern(line(n=lambda state: {"out": "x"}), sidecar=sidecar)
    graph.invoke({"out": ""})
    ledger.flush()
    server.stop()
    for _ in range(3):
        graph.invoke({"out": ""})
        time.sleep(0.2)

    server.start()
    until = time.monotonic() + 15
    while ledger.broken is not None and time.monotonic() < until:
        time.sleep(0.05)
    sidecar.close()

    assert (4, True) == (kinds(place).count("node.ended"), verify(place).ok)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_a_child_forked_meanwhile_asks_for_itself(server: Server, place: str) -> None:
    ledger = Ledger(place, patience=0.1)
    note(ledger, 1).result()
    server.stop()
    assert note(ledger, 2).exception(15) is not None
    child = os.fork()
    if child == 0:
        os._exit(0 if ledger.broken is None and ledger.absence is None else 1)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ledger.close()


def test_of_many_crashes_nothing_acknowledged_is_lost_and_nothing_is_there_twice(server: Server, place: str) -> None:
    ledger, over, kept = Ledger(place), threading.Event(), list[int]()

    def work(first: int) -> None:
        n = first
        while not over.is_set():
            note(ledger, n).result(60)
            kept.append(n)
            n += 10

    writers = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for writer in writers:
        writer.start()
    for how in ("immediate", "fast", "immediate"):
        time.sleep(0.3)
        server.stop(how)
        server.start()
    time.sleep(0.3)
    over.set()
    for writer in writers:
        writer.join(60)
    ledger.close()

    found = numbers(place)
    assert ([], [], True) == ([n for n in kept if n not in found], [n for n in found if found[n] > 1], verify(place).ok)


def test_a_group_whose_commit_was_never_confirmed_is_written_once(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection went after the server had committed, and before it could say so."""
    made: list[Any] = []
    chain = ledger_postgres.chain
    monkeypatch.setattr(ledger_postgres, "chain", lambda *a, **k: made.append(chain(*a, **k)) or made[-1])
    store = PostgresStore(place)
    events: Any = [("s", 1, "x", "", "", '{"n":1}', 0)]
    first = store.append(events, durable=True)
    other = PostgresStore(place)
    other.append([("t", 1, "x", "", "", '{"n":2}', 0)], durable=True)
    store._unsure = made[0]

    assert first == store.append(events, durable=True)
    assert {1: 1, 2: 1} == dict(numbers(place))
    assert first != store.append(events, durable=True)
    store.close()
    other.close()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_process_that_ends_meanwhile_does_not_wait_for_ever(server: Server, place: str) -> None:
    ledger = Ledger(place, patience=0.3)
    note(ledger, 1).result()
    server.stop()
    asked = note(ledger, 2)
    ledger.close()

    assert AWAY == asked.exception(0).code  # type: ignore[union-attr]  # it has one


def test_pauses_between_two_tries_grow_up_to_a_limit() -> None:
    absence = Absence()
    pauses = [absence.pause(10) for _ in range(9)]

    assert ([0.0, 0.05, 0.1, 0.2], 2.0) == (pauses[:4], pauses[-1])
    assert 0.3 == absence.pause(0.3)
