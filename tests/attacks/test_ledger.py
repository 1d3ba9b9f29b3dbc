"""The record: every field hashed, no row to lose unseen, no run without it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from governance import Contract, Sidecar, govern
from governance.errors import LedgerError
from governance.plane.ledger import Ledger
from governance.plane.verify import verify

FIELDS = ["session", "ts", "kind", "path", "actor", "body", "prev", "hash"]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A ledger of two sessions with ten events each, closed."""
    ledger = Ledger(tmp_path / "ledger.db")
    for n in range(10):
        for session in ("a", "b"):
            ledger.record(
                session, "tool.ended", path=f"n#{n}", actor="pay", body={"amount": n, "by": "alice"}, tokens=n
            )
    ledger.flush()
    ledger.close()
    return ledger.path


def edit(path: Path, statement: str, *values: Any) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(statement, values)
    db.close()


def clean(path: Path) -> bool:
    """Whether `verify` finds nothing wrong."""
    return not verify(path).problems


def test_an_untouched_record_verifies(record: Path) -> None:
    assert clean(record)


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_can_be_edited_unseen(field: str, record: Path) -> None:
    """Hashes that leave out who approved, which rule matched or what the arguments were prove nothing."""
    changed: Any = 7 if field == "ts" else "c" if field == "session" else '{"amount":1}'
    edit(record, f"UPDATE events SET {field}=? WHERE session='a' AND n=5", changed)

    assert not clean(record)


TAMPERINGS = {
    "tail cut": "DELETE FROM events WHERE session='a' AND n>7",
    "head cut": "DELETE FROM events WHERE session='a' AND n<3",
    "row dropped": "DELETE FROM events WHERE session='a' AND n=5",
    "session dropped": "DELETE FROM events WHERE session='a'",
    "all events dropped": "DELETE FROM events",
    "rows swapped": "UPDATE events SET n = CASE n WHEN 5 THEN -6 ELSE n END WHERE session='a'",
    "foreign row": "INSERT INTO events "
    "SELECT session,11,g,ts,kind,path,actor,body,prev,hash FROM events WHERE session='a' AND n=10",
    "row of another session": "UPDATE events SET body="
    "(SELECT body FROM events WHERE session='b' AND n=9) WHERE session='a' AND n=5",
    "head of the session forgotten": "DELETE FROM heads WHERE session='a'",
    "head moved back": "UPDATE heads SET n=5 WHERE session='a'",
    "tokens edited": "UPDATE heads SET tokens=0 WHERE session='a'",
    "session renamed": "UPDATE heads SET session='c' WHERE session='a'",
}


@pytest.mark.parametrize("how", list(TAMPERINGS))
def test_no_row_can_be_lost_swapped_or_added_unseen(how: str, record: Path) -> None:
    edit(record, TAMPERINGS[how])

    assert not clean(record)


def test_an_emptied_file_does_not_verify(record: Path) -> None:
    edit(record, "DELETE FROM events WHERE session='a'")
    edit(record, "DELETE FROM events WHERE session='b'")

    assert not clean(record)


def write(path: Path, writer: int) -> None:
    ledger = Ledger(path)
    for n in range(50):
        ledger.record("shared", "x", body={"writer": writer, "n": n})
        if n % 10 == 0:
            ledger.flush()
    ledger.flush()
    ledger.close()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_several_writers_make_one_chain(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    if kind == "threads":
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: write(path, n), range(4)))
    else:
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=write, args=(path, n)) for n in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()

    assert clean(path)
    assert (200 if kind == "threads" else 150) == sqlite3.connect(path).execute(
        "SELECT count(*) FROM events"
    ).fetchone()[0]


def test_many_threads_on_one_ledger_make_one_chain(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ledger.record("shared", "x", body={"n": n}), range(400)))
    ledger.flush()
    ledger.close()

    assert clean(ledger.path)


def unwritable(tmp_path: Path, where: str) -> Sidecar:
    """A Sidecar whose ledger, or whose control file, cannot be opened."""
    (tmp_path / "file").write_text("not a folder")
    bad, good = tmp_path / "file" / "x.db", tmp_path / "good.db"
    return Sidecar(
        ledger=bad if where == "ledger" else good, control=bad if where == "control" else tmp_path / "control.db"
    )


@pytest.mark.parametrize("where", ["ledger", "control"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_without_a_record_nothing_runs(mode: str, where: str, tmp_path: Path, one: Any) -> None:
    """Not even the first node, which begins before anything has been written."""
    ran: list[int] = []
    sidecar = unwritable(tmp_path, where)
    graph = govern(one(lambda s: ran.append(1)), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(LedgerError):
        graph.invoke({"out": ""}) if mode == "sync" else asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == ran
    sidecar.close()


def test_an_observed_run_goes_on_without_a_record_and_says_so_once(tmp_path: Path, one: Any) -> None:
    ran: list[int] = []
    sidecar = unwritable(tmp_path, "ledger")
    graph = govern(one(lambda s: ran.append(1)), sidecar=sidecar)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            graph.invoke({"out": ""})
            try:
                sidecar.ledger.flush()
            except LedgerError:
                pass

    assert [1, 1, 1] == ran
    assert 1 == sum("without a record" in str(w.message) for w in caught)
    sidecar.close()


def test_a_record_that_breaks_in_the_middle_stops_the_next_step(sidecar: Sidecar, till: Any, line: Any) -> None:
    def breaks(state: Any) -> Any:
        sidecar.ledger.broken = LedgerError("disk full")

    graph = line(first=breaks, n=lambda s: {"out": till.pay.invoke({"amount": 1})})
    govern(graph, contracts={"*": Contract(tools=["pay"])}, sidecar=sidecar)

    with pytest.raises(LedgerError):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_record_that_breaks_before_an_effect_stops_the_effect(sidecar: Sidecar, till: Any, one: Any) -> None:
    """The intent must be on disk; an effect nobody could ever find out about does not start."""

    def node(state: Any) -> Any:
        sidecar.ledger.flush()
        db = sqlite3.connect(sidecar.ledger.path)
        db.execute("DROP TABLE events")
        db.commit()
        db.close()
        till.refund.invoke({"amount": 1})

    graph = govern(one(node), contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar)

    with pytest.raises(LedgerError):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_record_deleted_while_it_is_written_is_noticed(sidecar: Sidecar, till: Any, line: Any) -> None:
    """SQLite goes on writing into a file that has no name any more."""

    def deletes(state: Any) -> Any:
        sidecar.ledger.flush()
        os.unlink(sidecar.ledger.path)

    graph = line(first=deletes, n=lambda s: {"out": till.refund.invoke({"amount": 1})})
    govern(graph, contracts={"*": Contract(tools=["refund"])}, sidecar=sidecar)

    with pytest.raises(LedgerError):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_every_execution_has_an_id_of_its_own(sidecar: Sidecar, one: Any, rows: Any) -> None:
    """Resumes and retries run a node again under the same task id; each is on record as itself."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command, interrupt

    config: Any = {"configurable": {"thread_id": "t"}}
    graph = govern(
        one(lambda s: {"out": str(interrupt("?"))}, checkpointer=InMemorySaver()),
        contracts={"n": Contract()},
        sidecar=sidecar,
    )
    graph.invoke({"out": ""}, config)
    graph.invoke(Command(resume="x"), config)
    begun = [row.body["execution"] for row in rows() if row.kind == "node.begun"]

    assert 2 == len(set(begun))
    assert 1 == len({row.path for row in rows() if row.kind == "node.begun"})


def run_in_child(sidecar: Sidecar, graph: Any) -> None:
    graph.invoke({"out": ""}, {"configurable": {"thread_id": "child"}})
    sidecar.ledger.flush()


def test_a_forked_child_keeps_the_record_whole(sidecar: Sidecar, one: Any, rows: Any) -> None:
    graph = govern(one(lambda s: {"out": "x"}), contracts={"n": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""}, {"configurable": {"thread_id": "parent"}})
    child = multiprocessing.get_context("fork").Process(target=run_in_child, args=(sidecar, graph))
    child.start()
    graph.invoke({"out": ""}, {"configurable": {"thread_id": "parent"}})
    child.join()

    assert 0 == child.exitcode
    assert {"parent": 2, "child": 1} == {
        s: sum(r.kind == "node.begun" and r.session == s for r in rows()) for s in ("parent", "child")
    }
    assert clean(sidecar.ledger.path)


def test_nothing_is_left_running_when_a_sidecar_is_closed(tmp_path: Path, one: Any) -> None:
    before = threading.active_count()
    for number in range(3):
        made = Sidecar(ledger=tmp_path / f"{number}.db")
        govern(one(lambda s: {"out": "x"}), contracts={"n": Contract()}, sidecar=made).invoke({"out": ""})
        made.close()

    assert before >= threading.active_count()
