"""Undoing in processes that are killed: whoever goes on undoes nothing twice and leaves nothing out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.sqlite import SqliteSaver

from governance import Contract, Sidecar, SideEffect, compensate, declares, govern, undos
from governance.errors import SessionUndone
from tests.attacks.answers import CONFIG
from tests.attacks.bank import Runs, die, line
from tests.attacks.undoing import SAGA, Refused, acts, fails

MAY = {"*": Contract.permissive()}


class Books:
    """What was done and undone, in a file; `dies` is when its process dies, at the undo of `b`."""

    def __init__(self, folder: Path, **effect: Any) -> None:
        self.path, self.dies = folder / "books", folder / "dies"
        self.effect = effect

    def note(self, what: str) -> str:
        with self.path.open("a") as books:
            books.write(f"{what}\n")
        return what

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []

    def tool(self, name: str) -> Any:
        def act(order: str = "") -> str:
            return self.note(name)

        def undo(args: Any, outcome: Any) -> None:
            die(name == "b" and self._dies("before"))
            self.note(f"-{name}")
            die(name == "b" and self._dies("after"))

        does = SideEffect("write", **{"undo": undo, "reconcile": lambda args: None, **self._looks(name)})
        return declares(does)(StructuredTool.from_function(act, name=name, description=name))

    def _looks(self, name: str) -> dict[str, Any]:
        looks = {"undone": lambda args, outcome: f"-{name}" in self.lines} if self.effect.get("looks") else {}
        return {**looks, "undo_idempotent": self.effect.get("idempotent", False)}

    def _dies(self, when: str) -> bool:
        return self.dies.exists() and self.dies.read_text() == when


class Sagas(Runs):
    """One session that acts three times and fails, in processes of its own."""

    def __init__(self, folder: Path, books: Books, end: Callable[..., Any] = fails) -> None:
        def build() -> Any:
            return line(**{name: acts(books.tool(name)) for name in "abc"}, end=end)

        super().__init__(folder, build, contracts=MAY)

    @contextmanager
    def graph(self) -> Iterator[Any]:
        with SqliteSaver.from_conn_string(str(self.folder / "checkpoints.db")) as saver:
            with closing(Sidecar(ledger=self.folder / "ledger.db")) as sidecar:
                sidecar.effects.lease = 0.5
                yield govern(self._compiled(saver), contracts=self.contracts, sidecar=sidecar, policy=SAGA)

    def on(self, given: Any, config: Any = None) -> Any:
        with self.graph() as graph:
            return graph.invoke(given, config or CONFIG, durability=self.durability)

    def undo(self) -> Any:
        with self.graph() as graph:
            return compensate(graph, "t", reason="it was killed")


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the test declares is known, as in a process that has imported one graph."""
    monkeypatch.setattr(undos, "_declared", {})


@pytest.mark.parametrize("dies", ["before", "after"])
def test_an_undo_that_can_be_looked_up_is_done_once(dies: str, tmp_path: Path) -> None:
    books = Books(tmp_path, looks=True)
    sagas = Sagas(tmp_path, books)
    books.dies.write_text(dies)
    sagas.killed({"out": ""})
    books.dies.unlink()
    with pytest.raises(SessionUndone):  # the next run finishes it, and does nothing else
        sagas.on(None)

    assert ["a", "b", "c", "-c", "-b", "-a"] == books.lines
    assert "undone" == sagas.undo().state


@pytest.mark.parametrize(("dies", "kept"), [("before", ["-c", "-a"]), ("after", ["-c", "-b", "-a"])])
def test_an_undo_that_nobody_can_look_up_is_for_a_person(dies: str, kept: list[str], tmp_path: Path) -> None:
    books = Books(tmp_path)
    sagas = Sagas(tmp_path, books)
    books.dies.write_text(dies)
    sagas.killed({"out": ""})
    books.dies.unlink()
    (waits,) = sagas.undo().parked

    assert ["a", "b", "c", *kept] == books.lines
    assert ("b", "its undo began and nobody saw how that ended", "b") == (waits.tool, waits.why, waits.outcome)


@pytest.mark.parametrize(("dies", "undone"), [("before", ["-c", "-b", "-a"]), ("after", ["-c", "-b", "-b", "-a"])])
def test_an_undo_that_may_be_repeated_is_repeated(dies: str, undone: list[str], tmp_path: Path) -> None:
    books = Books(tmp_path, idempotent=True)
    sagas = Sagas(tmp_path, books)
    books.dies.write_text(dies)
    sagas.killed({"out": ""})
    books.dies.unlink()

    assert "undone" == sagas.undo().state
    assert ["a", "b", "c", *undone] == books.lines


def test_a_session_that_was_killed_goes_on_or_is_undone_as_somebody_says(tmp_path: Path) -> None:
    books = Books(tmp_path, looks=True)
    sagas = Sagas(tmp_path, books, end=lambda state: die(not (tmp_path / "lives").exists()))
    sagas.killed({"out": ""})
    killed = books.lines
    found = sagas.undo()

    assert (["a", "b", "c"], "undone") == (killed, found.state)
    assert ["a", "b", "c", "-c", "-b", "-a"] == books.lines
    (tmp_path / "lives").touch()
    sagas.on({"out": ""})
    assert ["a", "b", "c"] == books.lines[6:]


def test_a_session_that_was_killed_and_goes_on_is_done(tmp_path: Path) -> None:
    books = Books(tmp_path)
    sagas = Sagas(tmp_path, books, end=lambda state: die(not (tmp_path / "lives").exists()))
    sagas.killed({"out": ""})
    (tmp_path / "lives").touch()
    sagas.on(None)

    assert ["a", "b", "c"] == books.lines


def test_a_process_that_was_killed_before_the_first_undo_has_decided_it_for_good(tmp_path: Path) -> None:
    """What was decided is on disk before anything is undone."""
    books = Books(tmp_path, looks=True)
    sagas = Sagas(tmp_path, books)
    sagas.killed_by(lambda: _die_once_begun(sagas))
    with pytest.raises(SessionUndone):
        sagas.on(None)

    assert ["a", "b", "c", "-c", "-b", "-a"] == books.lines


def _die_once_begun(sagas: Sagas) -> None:
    with sagas.graph() as graph, pytest.MonkeyPatch.context() as patch:
        patch.setattr("governance.compensation.undo", lambda *_: die())
        with pytest.raises(Refused):
            graph.invoke({"out": ""}, CONFIG)
