"""The control file: stops in force at once here and within a refresh elsewhere, also across forks."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool

from governance import Contract, Sidecar, govern
from governance.errors import Halted, LedgerError
from governance.plane.control import GOOD, Control

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = Control(tmp_path / "control.db")
    yield made
    made.close()


def until(seen: Callable[[], Any]) -> None:
    """Wait for what another thread or process does; the limit only ends a test that would never end."""
    limit = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_a_stop_is_in_force_here_at_once(control: Control) -> None:
    order = control.stop("tool", "pay", reason="odd", by="ann")

    assert {("tool", "pay"): order} == dict(control.stops)
    assert control.resume("tool", "pay") is True
    assert {} == dict(control.stops)


def test_lifting_what_was_not_stopped_says_so(control: Control) -> None:
    assert control.resume("tool", "pay") is False


def noting(name: str) -> Callable[[sqlite3.Connection], None]:
    return lambda db: db.execute("INSERT INTO stops VALUES('tool',?,'r','b',0)", (name,)) and None


def test_what_is_to_be_done_soon_is_done_without_blocking_whoever_asks(control: Control) -> None:
    other = Control(control.path)
    with other.transaction():  # nobody else can write meanwhile
        control.soon(noting("pay"))
        assert {} == dict(control.stops)

    until(lambda: ("tool", "pay") in control.stops)
    other.close()


def test_what_could_not_be_written_is_tried_again(control: Control) -> None:
    control.refresh()
    control.path.rename(control.path.with_name("away.db"))
    control.soon(noting("pay"))
    time.sleep(0.05)
    control.path.with_name("away.db").rename(control.path)

    until(lambda: ("tool", "pay") in control.stops)


def test_what_is_due_at_the_end_is_done_before_it(control: Control) -> None:
    for turn in range(20):
        control.soon(noting(f"{turn}"))
    control.close()

    assert 20 == len(control.rows("SELECT 1 FROM stops"))


STOPPING = """
import sys
from governance.plane.control import Control
Control(sys.argv[1]).stop("all", reason="fire", by="ann")
"""


def test_a_stop_of_another_process_is_seen_within_the_refresh(control: Control) -> None:
    control.refresh()
    subprocess.run([sys.executable, "-c", STOPPING, str(control.path)], cwd=ROOT, check=True, timeout=60)

    until(lambda: ("all", "*") in control.stops)
    assert "fire" == control.stops["all", "*"].reason


def test_what_another_has_changed_makes_the_snapshot_old_until_it_is_read(control: Control) -> None:
    """Heard without a question to SQLite, whoever writes in between."""
    control.refresh()
    other = Control(control.path)
    for turn in range(20):
        control.stop("session", f"ours{turn}", reason="r", by="b")
        other.stop("session", f"theirs{turn}", reason="r", by="b")
        time.sleep(2 * GOOD)
        assert not control.is_fresh()
        control.refresh()
        assert control.is_fresh() and ("session", f"theirs{turn}") in control.stops
    other.close()


def test_a_change_that_nobody_was_told_of_is_found_all_the_same(control: Control) -> None:
    """Whoever made it died before ringing, or edited the file by hand."""
    control.refresh()
    with sqlite3.connect(control.path) as db:
        db.execute("INSERT INTO stops VALUES('all', '*', 'fire', 'ann', 0)")

    until(lambda: ("all", "*") in control.stops)


def test_a_stop_lifted_elsewhere_is_lifted_here(control: Control) -> None:
    control.stop("all", reason="fire", by="ann")
    control.refresh()
    other = Control(control.path)
    other.resume("all")
    other.close()

    until(lambda: not control.stops)


def test_a_stop_is_known_before_the_first_call_of_a_new_process(control: Control, tmp_path: Path) -> None:
    control.stop("all", reason="fire", by="ann")
    later = Control(control.path)
    later.refresh()

    assert [("all", "*")] == list(later.stops)
    later.close()


def test_two_who_write_at_once_both_succeed(control: Control) -> None:
    other = Control(control.path)

    def stops(one: Control, name: str) -> None:
        for n in range(20):
            one.stop("session", f"{name}{n}", reason="r", by="b")

    threads = [threading.Thread(target=stops, args=pair) for pair in ((control, "a"), (other, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()

    with control.transaction() as db:
        assert 40 == db.execute("SELECT count(*) FROM stops").fetchone()[0]


def test_no_stop_of_another_writer_is_forgotten_while_this_one_writes(control: Control) -> None:
    """What is in force here is the union of both, at any time after both were seen."""
    control.refresh()
    other = Control(control.path)
    for n in range(20):
        other.stop("session", f"theirs{n}", reason="r", by="b")
        control.stop("session", f"ours{n}", reason="r", by="b")
        until(lambda n=n: {("session", f"theirs{n}"), ("session", f"ours{n}")} <= set(control.stops))
    other.close()

    until(lambda: 40 == len(control.stops))


def test_a_transaction_that_fails_changes_nothing(control: Control) -> None:
    with pytest.raises(ZeroDivisionError), control.transaction() as db:
        db.execute("INSERT INTO stops VALUES('all','*','r','b',0)")
        raise ZeroDivisionError

    with control.transaction() as db:
        assert 0 == db.execute("SELECT count(*) FROM stops").fetchone()[0]


def test_a_file_that_cannot_be_opened_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    control = Control(tmp_path / "file" / "control.db")

    with pytest.raises(LedgerError, match=r"cannot be opened .* give a path that can be written"):
        control.stop("all", reason="r", by="b")
    with pytest.raises(LedgerError):
        control.refresh()
    control.close()


def test_a_closed_control_opens_again(control: Control) -> None:
    for _ in range(3):
        control.stop("all", reason="r", by="b")
        control.refresh()
        control.close()

    control.refresh()
    assert [("all", "*")] == list(control.stops)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_has_a_watcher_of_its_own(control: Control) -> None:
    control.stop("all", reason="before", by="ann")
    control.refresh()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            control.refresh()
            control.stop("tool", "pay", reason="child", by="ann")
            code = 0 if {("all", "*"), ("tool", "pay")} == set(control.stops) else 2
        finally:
            os._exit(code)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    until(lambda: ("tool", "pay") in control.stops)
    control.stop("agent", "a", reason="after", by="ann")


# in force at every boundary


@tool
def look(what: str) -> str:
    """Looks."""
    return "seen"


@pytest.mark.parametrize(
    ("scope", "name"), [("all", "*"), ("session", "t"), ("agent", "n"), ("agent", "clerk"), ("tool", "look")]
)
def test_what_is_stopped_does_not_run_and_says_who_stopped_it_and_how_to_go_on(
    scope: Any, name: str, line: Any, sidecar: Sidecar, thread: Any
) -> None:
    contracts = {"n": Contract(tools=["look"], role="clerk")}
    graph = govern(line(n=lambda s: {"out": look.invoke({"what": "it"})}), contracts=contracts, sidecar=sidecar)
    sidecar.control.stop(scope, name, reason="odd", by="ann")

    with pytest.raises(Halted) as caught:
        graph.invoke({"out": ""}, thread)
    assert f"stopped by ann: odd (`sidecar resume {scope} {name}` lifts it)" == caught.value.reason
    sidecar.control.resume(scope, name)
    assert "seen" == graph.invoke({"out": ""}, thread)["out"]


@pytest.mark.parametrize(("scope", "name"), [("session", "other"), ("agent", "m"), ("tool", "pay")])
def test_what_is_stopped_elsewhere_does_not_matter_here(
    scope: Any, name: str, line: Any, sidecar: Sidecar, thread: Any
) -> None:
    contracts = {"n": Contract(tools=["look"])}
    graph = govern(line(n=lambda s: {"out": look.invoke({"what": "it"})}), contracts=contracts, sidecar=sidecar)
    sidecar.control.stop(scope, name, reason="odd", by="ann")

    assert "seen" == graph.invoke({"out": ""}, thread)["out"]


def test_a_stop_in_the_middle_of_a_node_stops_its_next_call(line: Any, sidecar: Sidecar, thread: Any) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def presses() -> None:
        begun.wait()
        sidecar.control.stop("all", reason="fire", by="ann")
        stopped.set()

    def node(state: Any) -> Any:
        first = look.invoke({"what": "a"})
        begun.set()
        stopped.wait()
        return {"out": first + look.invoke({"what": "b"})}

    person = threading.Thread(target=presses)
    person.start()
    with pytest.raises(Halted, match=r"look|fire"):
        govern(line(n=node), contracts={"n": Contract(tools=["look"])}, sidecar=sidecar).invoke({"out": ""}, thread)
    person.join()


@pytest.mark.parametrize("boundary", ["node", "tool"])
def test_a_stop_of_another_process_is_in_force_at_the_next_call(
    boundary: str, line: Any, sidecar: Sidecar, thread: Any
) -> None:
    """The call itself finds out; it does not wait for the background thread."""
    ran: list[str] = []
    begun, stopped = threading.Event(), threading.Event()

    def presses() -> None:
        begun.wait()
        other = Control(sidecar.control.path)  # as another process would
        other.stop("all", reason="fire", by="ann")
        other.close()
        time.sleep(2 * GOOD)
        stopped.set()

    def first(state: Any) -> Any:
        begun.set()
        stopped.wait()
        return {"out": look.invoke({"what": "a"}) if boundary == "tool" else "x"}

    def second(state: Any) -> Any:
        ran.append("second")
        return {"out": "y"}

    person = threading.Thread(target=presses)
    person.start()
    graph = govern(line(first=first, second=second), contracts={"*": Contract(tools=["look"])}, sidecar=sidecar)
    with pytest.raises(Halted, match="fire"):
        graph.invoke({"out": ""}, thread)
    person.join()
    assert [] == ran


def test_observe_mode_never_stops_a_run(line: Any, sidecar: Sidecar, thread: Any) -> None:
    graph = govern(line(n=lambda state: {"out": "x"}), sidecar=sidecar)
    sidecar.control.stop("all", reason="fire", by="ann")

    assert "x" == graph.invoke({"out": ""}, thread)["out"]


def test_a_control_file_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "control.db")) as db:
        db.execute("PRAGMA user_version=1")

    with pytest.raises(LedgerError, match=r"has version 1, this Sidecar knows version \d; settle what waits in it"):
        Control(tmp_path / "control.db").stop("all", reason="x", by="ann")


def test_a_snapshot_that_is_only_being_read_is_not_fresh(tmp_path: Path) -> None:
    """One call reads the file anew; the others must not go by the old snapshot until that is done."""
    with closing(Control(tmp_path / "control.db")) as switch, closing(Control(tmp_path / "control.db")) as other:
        switch.refresh()
        time.sleep(2 * GOOD)
        reading, go_on = threading.Event(), threading.Event()
        read = switch._stops.read

        def slowly(db: sqlite3.Connection) -> None:
            reading.set()
            go_on.wait(60)
            read(db)

        switch._stops.read = slowly  # type: ignore[method-assign]
        other.stop("all", reason="fire", by="ann")
        reader = threading.Thread(target=switch.refresh)
        reader.start()
        reading.wait(60)
        fresh = switch.is_fresh()
        go_on.set()
        reader.join()

    assert not fresh
    assert ("all", "*") in switch.stops


def test_calls_of_others_wait_for_a_stop_that_is_being_written(tmp_path: Path, monkeypatch: Any) -> None:
    """From the moment on when it is given: the disk may take its time."""
    monkeypatch.setattr("governance.plane.control.ON_ITS_WAY", 60.0)
    with closing(Control(tmp_path / "control.db")) as switch, closing(Control(tmp_path / "control.db")) as other:
        switch.refresh()
        other.refresh()
        person = threading.Thread(target=lambda: switch.stop("tool", "pay", reason="odd", by="ann"))
        with switch.lock:  # its disk stands still
            person.start()
            until(lambda: ("tool", "pay") in switch.stops)
            until(lambda: not other.is_fresh())
            reader = threading.Thread(target=other.refresh)
            reader.start()
            time.sleep(0.05)
            waits = reader.is_alive()
        person.join()
        reader.join()

        assert waits and ("tool", "pay") in other.stops and other.is_fresh()


def test_nobody_waits_for_ever_for_whoever_died_before_it_was_written(tmp_path: Path) -> None:
    with closing(Control(tmp_path / "control.db")) as switch, closing(Control(tmp_path / "control.db")) as other:
        switch.refresh()
        other.refresh()
        switch._announce()

        other.refresh()
        assert other.is_fresh()
