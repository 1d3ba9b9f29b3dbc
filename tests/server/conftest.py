"""One `langgraph dev` on loopback for the tests of this folder, with the repository's own langgraph.json and more."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from governance import Principal, Sidecar
from governance.testing.server import FaultyServer, ToolCall, depending, ok

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = Path(__file__).resolve().parent / "graphs" / "till.py"
STARTS_WITHIN = 120
OFFLINE = {
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGSMITH_TRACING": "false",
    "SIDECAR_MODEL": "m",
    "OPENAI_API_KEY": "none",
    "PYTHONUNBUFFERED": "1",
}
AMOUNTS = count(1)


@dataclass
class Served:
    """A running server, the folder it keeps its state in, and the governance behind it."""

    url: str
    folder: Path
    sidecar: Sidecar
    user: str | None = None

    @cached_property
    def client(self) -> SyncLangGraphClient:
        # The server hangs up after an internal error, which is what a closed door looks like from here.
        headers = {"Connection": "close"} | ({"authorization": self.user} if self.user else {})
        return get_sync_client(url=self.url, api_key=None, headers=headers)

    def as_user(self, name: str) -> Served:
        return Served(self.url, self.folder, self.sidecar, name)

    def run(self, thread: str, graph: str = "till", **given: Any) -> Any:
        """Run to the end and return the values; raises what the server answers."""
        return self.client.runs.wait(thread, graph, **{"input": None, **given})

    def thread(self) -> str:
        return str(self.client.threads.create()["thread_id"])

    def parked(self, graph: str = "till") -> Parked:
        """A new thread that waits for leave to pay an amount no other thread pays."""
        thread, amount = self.thread(), next(AMOUNTS)
        self.run(thread, graph, input={"amount": amount})
        return Parked(self, thread, amount)

    def decide(self, card: str, decision: Any, *, by: str = "alice") -> None:
        self.sidecar.approvals.decide(card, decision, by=Principal(by, "local"), reason="seen")

    def paid(self, amount: int) -> int:
        """How often an amount has left the till."""
        till = self.folder / "till.txt"
        return till.read_text(encoding="utf-8").split().count(str(amount)) if till.exists() else 0

    def refused(self, thread: str) -> list[str]:
        """The doors that were found closed for a thread, as the ledger has them."""
        query = "SELECT json_extract(body, '$.what') FROM events WHERE session=? AND kind='door.refused'"
        with closing(sqlite3.connect(self.sidecar.ledger.path)) as ledger:
            return [what for (what,) in ledger.execute(query, (thread,))]

    def log(self) -> str:
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")


@dataclass
class Parked:
    """A thread that waits for a decision."""

    served: Served
    thread: str
    amount: int

    @property
    def state(self) -> Any:
        return self.served.client.threads.get_state(self.thread)

    @cached_property
    def card(self) -> str:
        return str(self.state["interrupts"][0]["value"]["card"])

    def approval(self, **changes: Any) -> dict[str, Any]:
        """The answer that counts, with some of it changed."""
        return {"card": self.card, "decision": "approve", "by": "alice", "reason": "seen", **changes}

    def resume(self, answer: Any, **more: Any) -> Any:
        return self.served.run(self.thread, command={"resume": answer, **more})

    @property
    def paid(self) -> int:
        return self.served.paid(self.amount)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Started once; whatever its tests leave behind is in a folder of its own."""
    with serving(tmp_path_factory.mktemp("served"), config()) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same with an authentication handler, as docs/server.md describes it."""
    auth = {"path": f"{GRAPHS.with_name('door_keeper.py')}:auth", "disable_studio_auth": True}
    with serving(tmp_path_factory.mktemp("guarded"), {**config(), "auth": auth}) as server:
        yield server


@contextmanager
def serving(folder: Path, configured: dict[str, Any]) -> Iterator[Served]:
    port = free_port()
    with FaultyServer(always=depending(shopping)) as model, (folder / "server.log").open("wb") as log:
        (folder / "langgraph.json").write_text(json.dumps(configured), encoding="utf-8")
        command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload"]
        command += ["--port", str(port), "--n-jobs-per-worker", "4"]
        env = {**os.environ, **OFFLINE, "OPENAI_BASE_URL": model.base_url, "SHOP_DB": str(folder / "shop.db")}
        server = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        sidecar = Sidecar(ledger=folder / ".sidecar/ledger.db")
        try:
            wait_until_ready(server, f"http://127.0.0.1:{port}", folder)
            yield Served(f"http://127.0.0.1:{port}", folder, sidecar)
        finally:
            sidecar.close()
            end(server)


def config() -> dict[str, Any]:
    """The repository's langgraph.json as it is, its paths made absolute, with the graphs of these tests."""
    given: dict[str, Any] = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))
    given["dependencies"] = [str(ROOT)]
    given["graphs"] = {name: str(ROOT / path) for name, path in given["graphs"].items()}
    given["graphs"] |= {name: f"{GRAPHS}:{name}" for name in ("till", "speaker", "waiter", "blocker")}
    for place in ("checkpointer", "store"):
        given[place] = {"path": str(ROOT / given[place]["path"])}
    return given


def shopping(body: dict[str, Any]) -> Any:
    """A model that wants to refund whatever the customer says, until a tool has answered."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return ok("It is done.")
    order, cents = (1005, 15_900) if "large" in last["content"] else (1001, 2995)
    return ok(tool_calls=[ToolCall("refund_order", {"order_id": order, "amount_cents": cents, "reason": "chipped"})])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(server: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    asked = threading.Event()
    for _ in range(STARTS_WITHIN * 5):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/ok", timeout=5):
                return
        except OSError:
            asked.wait(0.2)
    raise AssertionError(f"the server did not start:\n{(folder / 'server.log').read_text(errors='replace')[-4000:]}")


def end(server: subprocess.Popen[bytes]) -> None:
    """Ends the server and whatever it started; SIGINT lets it write what it keeps."""
    try:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(15)
    except ProcessLookupError:
        return
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(15)
