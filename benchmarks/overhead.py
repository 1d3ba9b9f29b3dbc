"""What governance costs: bare and governed graphs interleaved in one process, compared in CPU time.

Every governed node has declared reads, typed writes, a token budget and one gate; the filters it
really entered and the ledger rows it really wrote are counted, not assumed (one filter is one check here,
though some look at several things). The ledger's writer thread runs in the same process, so its CPU time
is part of the governed side; before each run everything rests until that thread sleeps, or else the bare
side would pay for it too. A governed node that no callback handler listens to makes no run manager, which
LangGraph always makes; `heard_ratio` is the sync ratio with a handler, where that is not saved.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from benchmarks.report import Target, report
from governance import Contract, Filter, Policy, Sidecar, Verdict, declares, govern
from governance.contracts import READ
from governance.policy_failures import BreakerPolicy, BulkheadPolicy, RetriesPolicy
from governance.seams import governance_of

NODES = 20
REST = 0.15
"""Seconds after which no thread of the governed side is awake."""
TARGETS = {
    "async_ratio": Target(1.15),
    "sync_ratio": Target(1.15),
    "slow_node_ratio": Target(1.01),
    "long_history_ratio": Target(1.20),
    "langgraph_bench_geomean": Target(1.06),
    "checks_per_node": Target(4, "at least"),
    "rows_per_node": Target(2, "at least"),
}


class State(TypedDict, total=False):
    count: int
    note: str
    messages: Annotated[list[AnyMessage], add_messages]


def counts(call: Any, update: Any) -> Verdict:
    """The gate of the benchmark: the counter must move up."""
    return Verdict.passed() if update["count"] > 0 else Verdict.revise("count must be above 0")


def chain_of(node: Callable[[State], Any], nodes: int = NODES) -> Any:
    builder = StateGraph(State)
    previous = START
    for number in range(nodes):
        builder.add_node(f"n{number}", node)
        builder.add_edge(previous, f"n{number}")
        previous = f"n{number}"
    return builder.compile()


def governed(node: Callable[[State], Any], sidecar: Sidecar, nodes: int = NODES) -> Any:
    contract = Contract(reads=["count", "messages"], writes=["count"], tokens=1000, gates=[counts], timeout=None)
    return govern(chain_of(node, nodes), contracts={"*": contract}, sidecar=sidecar)


def step(state: State) -> dict[str, Any]:
    return {"count": state["count"] + 1}


async def astep(state: State) -> dict[str, Any]:
    return {"count": state["count"] + 1}


async def slow(state: State) -> dict[str, Any]:
    await asyncio.sleep(0.01)
    return {"count": state["count"] + 1}


def paired(
    bare: Callable[[], Any], other: Callable[[], Any], rounds: int, *, settle: Callable[[], None]
) -> list[tuple[float, float]]:
    """CPU seconds of both in each round, in random order; `settle` ends what a run leaves behind."""
    bare(), other(), settle()  # warm
    pairs = []
    for _ in range(rounds):
        spent = {}
        order = [("bare", bare), ("other", other)]
        random.shuffle(order)
        for name, run in order:
            time.sleep(REST)
            gc.collect()
            gc.disable()
            started = time.process_time()
            run()
            if name == "other":
                settle()
            spent[name] = time.process_time() - started
            gc.enable()
        pairs.append((spent["bare"], spent["other"]))
    return pairs


def interval(resampled: Callable[[], float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of a figure; `resampled` computes it from a random sample of its rounds."""
    found = sorted(resampled() for _ in range(400))
    return found[10], found[-11]


def ratio(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Median of the paired ratios with its interval."""
    ratios = [other / bare for bare, other in pairs]
    return statistics.median(ratios), *interval(lambda: statistics.median(random.choices(ratios, k=len(ratios))))


def overhead_ratios(sidecar: Sidecar, rounds: int) -> tuple[dict[str, float], list[str]]:
    figures, notes = {}, []
    heard = {"callbacks": [BaseCallbackHandler()]}
    repeat = 25  # one round ends with one flush, which belongs to no node
    flush = sidecar.ledger.flush
    loop = asyncio.new_event_loop()
    bare_sync, with_sync = chain_of(step), governed(step, sidecar)
    bare_async, with_async = chain_of(astep), governed(astep, sidecar)

    def sync(graph: Any, config: Any = None) -> Callable[[], None]:
        return lambda: [graph.invoke({"count": 1}, config) for _ in range(repeat)] and None

    def run_async(graph: Any) -> Callable[[], None]:
        async def several() -> None:
            for _ in range(repeat):
                await graph.ainvoke({"count": 1})

        return lambda: loop.run_until_complete(several())

    for name, bare, other in (
        ("sync_ratio", sync(bare_sync), sync(with_sync)),
        ("async_ratio", run_async(bare_async), run_async(with_async)),
        ("heard_ratio", sync(bare_sync, heard), sync(with_sync, heard)),
    ):
        pairs = paired(bare, other, rounds, settle=flush)
        figures[name], low, high = ratio(pairs)
        cheapest = min(b for b, _ in pairs), min(o for _, o in pairs)
        added = (cheapest[1] - cheapest[0]) / (repeat * NODES) * 1e6
        floor = cheapest[1] / cheapest[0]
        notes.append(f"{name}: 95 % interval {low:.3f} to {high:.3f}; of minima {floor:.3f}; {added:+.1f} us a node")
        if name == "async_ratio":
            figures["async_us"] = added
    loop.close()
    return figures, notes


def slow_node_ratio(sidecar: Sidecar, rounds: int) -> tuple[float, str]:
    """Wall time, since a node that waits spends none on the CPU: how much longer a run takes."""
    bare, other = chain_of(slow, 10), governed(slow, sidecar, 10)

    async def both() -> list[float]:
        ratios = []
        for _ in range(rounds + 1):
            spent = {}
            graphs = [("bare", bare), ("other", other)]
            random.shuffle(graphs)
            for name, graph in graphs:
                started = time.perf_counter()
                await graph.ainvoke({"count": 1})
                spent[name] = time.perf_counter() - started
            ratios.append(spent["other"] / spent["bare"])
        return ratios[1:]

    ratios = asyncio.run(both())
    low, high = interval(lambda: statistics.median(random.choices(ratios, k=len(ratios))))
    return statistics.median(ratios), f"slow_node_ratio: 95 % interval {low:.3f} to {high:.3f}"


def long_history_ratio(sidecar: Sidecar, rounds: int) -> tuple[float, str]:
    """What governance adds to a node with 5,000 messages in the state, against the same with 10.

    All four graphs run in every round, and the chains are long: taking in 5,000 messages costs a run more
    than the governance of many nodes.
    """
    nodes, repeat, spent = 100, 3, dict[tuple[str, int], list[float]]()
    graphs = {"bare": chain_of(step, nodes), "governed": governed(step, sidecar, nodes)}
    cases = [(kind, size) for kind in graphs for size in (10, 5000)]
    given = {size: [HumanMessage(f"message {i}", id=str(i)) for i in range(size)] for size in (10, 5000)}
    for number in range(rounds + 1):
        for kind, size in random.sample(cases, len(cases)):
            time.sleep(REST)
            gc.collect()
            gc.disable()
            started = time.process_time()
            for _ in range(repeat):
                graphs[kind].invoke({"count": 1, "messages": given[size]})
            if kind == "governed":
                sidecar.ledger.flush()
            if number:
                spent.setdefault((kind, size), []).append(time.process_time() - started)
            gc.enable()

    def found(rows: Sequence[int]) -> float:
        added = {
            size: statistics.median(spent["governed", size][n] - spent["bare", size][n] for n in rows) for size in given
        }
        return added[5000] / added[10]

    low, high = interval(lambda: found(random.choices(range(rounds), k=rounds)))
    return found(range(rounds)), f"long_history_ratio: 95 % interval {low:.3f} to {high:.3f}"


def call_costs(sidecar: Sidecar, rounds: int) -> tuple[dict[str, float], str]:
    """CPU that a tool call costs more under a contract, and again more where all rules for failures are on."""
    calls, guarded = 50, Policy(retries=RetriesPolicy(), breaker=BreakerPolicy(), bulkhead=BulkheadPolicy())

    @declares(READ)
    @tool
    def look(number: int) -> str:
        """Look a number up."""
        return str(number)

    def node(state: State) -> dict[str, Any]:
        return {"note": "".join(look.invoke({"number": number}) for number in range(calls))}

    graphs: dict[str, Any] = {"bare": chain_of(node, 1), "ruled": chain_of(node, 1), "guarded": chain_of(node, 1)}
    for name, policy in (("ruled", Policy()), ("guarded", guarded)):
        govern(graphs[name], contracts={"*": Contract(tools=["look"])}, policy=policy, sidecar=sidecar)
    cheapest = dict.fromkeys(graphs, float("inf"))
    for _ in range(rounds):
        for name in random.sample(list(graphs), len(graphs)):
            time.sleep(REST)
            started = time.process_time()
            graphs[name].invoke({"count": 1})
            sidecar.ledger.flush()
            cheapest[name] = min(cheapest[name], (time.process_time() - started) / calls * 1e6)
    ruled, guard = cheapest["ruled"] - cheapest["bare"], cheapest["guarded"] - cheapest["ruled"]
    note = f"call_us: a bare tool call takes {cheapest['bare']:.0f} us; all of these are of minima"
    return {"call_us_governed": ruled, "call_us_governed_failures": guard}, note


def per_node(sidecar: Sidecar, nodes: int) -> tuple[float, float]:
    """Filters entered and ledger rows written for one node, both counted while a graph runs."""
    graph, entered = governed(step, sidecar, nodes), 0
    governance = governance_of(graph)
    assert governance is not None
    contract = governance.contract("n0")
    assert contract is not None

    def counted(one: Filter) -> Filter:
        def enter(call: Any) -> Any:
            nonlocal entered
            entered += 1
            return one(call)

        return enter

    # Before the first run: a node takes its chain from here when it is first bound.
    governance._chains["node", id(contract)] = tuple(map(counted, governance.chain("node", contract)))
    sidecar.ledger.flush()
    before = rows(sidecar)
    graph.invoke({"count": 1})
    sidecar.ledger.flush()
    return entered / nodes, (rows(sidecar) - before) / nodes


def rows(sidecar: Sidecar) -> int:
    with sqlite3.connect(sidecar.ledger.path) as db:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


def langgraph_bench(script: Path | None, seconds: float) -> tuple[float | None, str]:
    """LangGraph's own bench suite, bare against governed, by the conformance harness."""
    if script is None or not script.exists():
        return None, "langgraph_bench_geomean: give --harness PATH/bench_overhead.py (see CONTRIBUTING.md)"
    command = [
        sys.executable, str(script), "--path", str(Path.cwd()), "--rounds", "7", "--budget", str(seconds),
        "--compiled", 'importlib.import_module("governance.testing.conformance").enforce',
    ]  # fmt: skip
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip().splitlines()
    ratios = [json.loads(line)["ratio_pairs_median"] for line in output if '"ratio_pairs_median"' in line]
    if not ratios:
        return None, "langgraph_bench_geomean: the harness printed no result; run it by hand to see why"
    low, high = interval(lambda: statistics.geometric_mean(random.choices(ratios, k=len(ratios))))
    note = f"langgraph_bench_geomean: {len(ratios)} benches, 95 % interval {low:.3f} to {high:.3f}"
    return statistics.geometric_mean(ratios), note


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; ends within 50 s")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--harness", type=Path, help="bench_overhead.py of the LangGraph conformance harness")
    parser.add_argument("--data", help="not used: this benchmark makes its own graphs")
    options = parser.parse_args(argv)
    rounds = 15 if options.quick else 60
    with tempfile.TemporaryDirectory() as folder:
        sidecar = Sidecar(ledger=Path(folder) / "ledger.db")
        figures, notes = overhead_ratios(sidecar, rounds)
        for name, measure in (("slow_node_ratio", slow_node_ratio), ("long_history_ratio", long_history_ratio)):
            figures[name], note = measure(sidecar, 2 * rounds)
            notes.append(note)
        costs, note = call_costs(sidecar, rounds)
        figures |= costs
        notes.append(note)
        figures["checks_per_node"], figures["rows_per_node"] = per_node(sidecar, NODES)
        sidecar.close()
    geomean, note = langgraph_bench(options.harness, 40 if options.quick else 400)
    measured = {**figures, "langgraph_bench_geomean": geomean}
    targets = {k: t for k, t in TARGETS.items() if k != "langgraph_bench_geomean" or options.harness}
    return report("overhead", measured, targets, notes="\n".join([*notes, note]), only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
