"""A bank whose books are a file, sessions in processes that die, and graphs that pay."""

from __future__ import annotations

import itertools
import os
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode

from governance import Contract, Sidecar, SideEffect, declares, govern, operator
from tests.attacks.answers import CONFIG
from tests.fixtures import State, calling

MAY = {"*": Contract(tools=["pay"]), "*/*": Contract(tools=["pay"])}
LEASE = 0.5
Build = Callable[[Any], StateGraph[Any, Any, Any, Any]]


class Bank:
    """Its books are a file: what was paid stands there whatever became of the payer."""

    def __init__(self, path: Path, **effect: Any) -> None:
        self.path = path
        self.dies: Literal["before", "after", "never"] = "never"
        looks = {"reconcile": self.found} if effect.pop("looks", True) else {}

        @declares(SideEffect("external", **looks, **effect))
        @tool
        def pay(amount: int) -> str:
            """Pay."""
            die(self.dies == "before")
            with path.open("a") as books:
                books.write(f"{amount}\n")
            die(self.dies == "after")
            return f"paid {amount}"

        self.pay: BaseTool = pay

    @property
    def paid(self) -> list[int]:
        return [int(line) for line in self.path.read_text().split()] if self.path.exists() else []

    def found(self, args: Any) -> str | None:
        return f"paid {args['amount']}" if args["amount"] in self.paid else None


class Runs:
    """One session on files: what runs in a process that is killed, and what runs in the next one."""

    def __init__(
        self,
        folder: Path,
        build: Callable[[], Any],
        durability: Literal["sync", "async", "exit"] = "sync",
        contracts: Mapping[str, Contract] = MAY,
    ) -> None:
        self.folder, self.build, self.durability, self.contracts = folder, build, durability, contracts

    def on(self, given: Any, config: Any = None) -> Any:
        """A process that lives: it closes what it opened."""
        with SqliteSaver.from_conn_string(str(self.folder / "checkpoints.db")) as saver:
            with closing(Sidecar(ledger=self.folder / "ledger.db")) as sidecar:
                sidecar.effects.lease = LEASE
                graph = govern(self._compiled(saver), contracts=self.contracts, sidecar=sidecar)
                return graph.invoke(given, config or CONFIG, durability=self.durability)

    def _compiled(self, saver: Any) -> Any:
        """Of a builder, or of a function that needs the saver itself."""
        made = self.build()
        return made.compile(checkpointer=saver, name="jobs") if isinstance(made, StateGraph) else made(saver)

    def killed(self, given: Any) -> None:
        """A process that somebody or something kills at work."""
        self.killed_by(lambda: self.on(given))

    def killed_by(self, work: Callable[[], Any]) -> None:
        child = os.fork()
        if child == 0:
            try:
                work()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "nobody killed it"

    def again(self, from_step: str) -> Any:
        """Rewound by an operator to where this node comes next, and run on from there."""
        with SqliteSaver.from_conn_string(str(self.folder / "checkpoints.db")) as saver:
            graph = self._compiled(saver)
            (earlier, *_) = (one for one in graph.get_state_history(CONFIG) if from_step in one.next)
        with operator("ann", reason="to see it again"):
            return self.on(None, earlier.config)

    @property
    def control(self) -> Any:
        return Sidecar(ledger=self.folder / "ledger.db").control


def die(now: bool = True) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def moody() -> GenericFakeChatModel:
    """Asks to pay another amount each time it is asked."""
    said = (calling(("pay", {"amount": random.randrange(10**9)})) for _ in itertools.count())
    return GenericFakeChatModel(messages=said)


def line(**nodes: Any) -> Any:
    builder, before = StateGraph(State), START
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder


def asking_and_paying(bank: Bank, then: Callable[[], Any] = lambda: None) -> Any:
    """A node that asks a model and pays what it says."""

    def node(state: Any) -> Any:
        said = bank.pay.invoke(moody().invoke("how much?").tool_calls[0]["args"])
        then()
        return {"out": said}

    return node


def agent(bank: Bank, after_answer: Callable[[], None] = lambda: None) -> Any:
    """A model in one node, its tools in the next, and nothing between them but a checkpoint."""
    builder = StateGraph(State)
    builder.add_node("agent", lambda state: {"messages": [moody().invoke("how much?")]})
    builder.add_node("between", lambda state: after_answer())
    builder.add_node("tools", ToolNode([bank.pay], handle_tool_errors=False))
    for before, after in itertools.pairwise((START, "agent", "between", "tools")):
        builder.add_edge(before, after)
    return builder


def fresh(folder: Path) -> bool:
    """True for the first who asks, in whatever process."""
    try:
        (folder / "asked").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
