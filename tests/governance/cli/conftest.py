"""A user's project in a folder of its own, and the `sidecar` command run in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from governance.cli import app

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'sidecar'; from governance.cli import app; app()"]
AGENT = """
from typing import TypedDict

from langgraph.graph import StateGraph
from langgraph.types import interrupt

from governance import Approval, Contract, Sidecar, govern


class State(TypedDict, total=False):
    n: int
    name: str


def add(state):
    return {"n": state["n"] + 1}


async def double(state):
    return {"n": state["n"] * 2}


def ask(state):
    return {"name": interrupt({"question": "your name?"})}


def fail(state):
    raise ValueError("the first line\\nthe second")


def chain(*nodes):
    builder = StateGraph(State)
    builder.add_sequence(nodes)
    builder.set_entry_point(nodes[0].__name__)
    return builder


graph = chain(add, double).compile()
asking = chain(add, ask).compile()
failing = chain(add, fail).compile()
refusing = govern(
    chain(add, double).compile(),
    contracts={"add": Contract(reads=["n"], writes=["name"]), "double": Contract(reads=["n"], writes=["n"])},
    sidecar=Sidecar(),
)
approving = govern(
    chain(add, double).compile(),
    contracts={
        "add": Contract(reads=["n"], writes=["n"], approval=Approval("numbers go out")),
        "double": Contract(reads=["n"], writes=["n"]),
    },
    sidecar=Sidecar(),
)
not_a_graph = 3
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line an error is; fails where there are more, or a traceback."""
        lines = self.err.strip().splitlines()
        assert 1 == len(lines) and "Traceback" not in self.err, self.err
        return lines[0]


@dataclass(frozen=True, slots=True)
class Project:
    """The folder, and the command in this process or in one of its own."""

    path: Path

    def write(self, name: str, text: str) -> str:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return name

    def sidecar(self, *args: str, given: str | None = None) -> Ended:
        ended = CliRunner().invoke(app, list(args), input=given, prog_name="sidecar")
        return Ended(ended.exit_code, ended.stdout, ended.stderr)

    def start(self, *args: str, before: str = "") -> subprocess.Popen[str]:
        """The command as a process; `before` is Python that runs in it first."""
        command = [*COMMAND[:2], f"{before}\n{COMMAND[2]}", *args]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            command, cwd=self.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in ("SIDECAR_LEDGER", "SIDECAR_CONTROL", "SIDECAR_DEBUG"):
        monkeypatch.setenv(name, "")  # put back afterwards, also where the command sets it
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [n for n in sys.modules if n.partition(".")[0] == "graphs"]:
        monkeypatch.delitem(sys.modules, name)  # another test of this process may have imported the real ones
    known = set(sys.modules)
    made = Project(tmp_path)
    made.write("agent.py", AGENT)
    made.write("in.json", '{"n": 1}')
    made.write("langgraph.json", '{"graphs": {"agent": "./agent.py:graph", "asker": {"path": "./agent.py:asking"}}}')
    yield made
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None) or tmp_path).startswith(str(tmp_path)):
            del sys.modules[name]
