"""Fifty sessions come to one order at the same time, each to refund it: in one process, and in three."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from benchmarks.effects_graph import receipt
from benchmarks.effects_service import entries, look_up, order
from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import EffectInDoubt

SESSIONS = 50


class State(TypedDict, total=False):
    amount: int
    said: str


class Outcome(NamedTuple):
    """How many refunds the service made, and what became of the sessions that came for one."""

    refunds: int
    answered: int
    refused: int
    guessed: int
    failed: tuple[str, ...]


def fifty(folder: Path, port: int, books: Path, *, processes: int) -> Outcome:
    """Let fifty sessions begin together; half of them with an amount that differs from the others'."""
    context, ref = multiprocessing.get_context("forkserver"), f"order-{processes}"
    shares = [list(range(SESSIONS))[n::processes] for n in range(processes)]
    begin = context.Barrier(SESSIONS)
    results = context.SimpleQueue()
    running = [context.Process(target=_refunding, args=(folder, port, ref, share, begin, results)) for share in shares]
    for process in running:
        process.start()
    said = [one for _ in running for one in json.loads(results.get())]
    for process in running:
        process.join()
    made = [receipt(entry) for entry in entries(books) if entry.ref == ref]
    answered = [words for how, words in said if how == "answered"]
    failed = tuple(words for how, words in said if how == "failed")
    guessed = sum(one not in made for one in answered)
    return Outcome(len(made), len(answered), len(said) - len(answered) - len(failed), guessed, failed)


def _refunding(folder: Path, port: int, ref: str, share: Sequence[int], begin: Any, results: Any) -> None:
    sidecar = Sidecar(ledger=folder / "ledger.db")
    graph = _graph(sidecar, port)
    with ThreadPoolExecutor(len(share)) as pool:
        said = list(pool.map(lambda number: _one(graph, ref, number, begin), share))
    sidecar.close()
    results.put(json.dumps(said))


def _one(graph: Any, ref: str, number: int, begin: threading.Barrier) -> tuple[str, str]:
    """How the session ended, and what it was told."""
    begin.wait()
    amount = 5 if number % 2 else random.randint(6, 999)
    config = {"configurable": {"thread_id": f"{ref}-{number}", "ref": ref}}
    try:
        return "answered", str(graph.invoke({"amount": amount}, config)["said"])
    except EffectInDoubt as doubt:
        return "refused", doubt.reason
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"


def _graph(sidecar: Sidecar, port: int) -> Any:
    def find(args: Any) -> str | None:
        return next((receipt(entry) for entry in look_up(port, args["ref"])), None)

    @declares(SideEffect("external", key="refund:{ref}", reconcile=find))
    @tool
    def refund(ref: str, amount: int) -> str:
        """Refund an order."""
        return receipt(order(port, ref, amount, os.getpid()))

    def node(state: State, config: RunnableConfig) -> State:
        return {"said": refund.invoke({"ref": config["configurable"]["ref"], "amount": state["amount"]})}

    builder = StateGraph(State)
    builder.add_node("n", node)
    builder.add_edge(START, "n")
    compiled = builder.compile(checkpointer=InMemorySaver())
    return govern(compiled, contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar)
