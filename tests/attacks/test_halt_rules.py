"""What a rule says is too much stops itself: here at once, elsewhere as soon as it is written, once, and for good."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langgraph.checkpoint.memory import InMemorySaver

from governance import Contract, Policy, Sidecar, SideEffect, Tool, at_most, govern
from governance.errors import Halted
from governance.gates import custom
from governance.plane.control import GOOD, Control
from governance.policy import TenantPolicy
from governance.policy_halts import HaltRule

Governed = Callable[..., Any]


@pytest.fixture
def under(sidecar: Sidecar, one: Any) -> Governed:
    """A graph of one node under one rule; what it may call is in the contract."""

    def build(node: Any, rule: HaltRule, of: Sidecar = sidecar, **contract: Any) -> Any:
        policy = Policy(halt=(rule,), tenants=TenantPolicy())
        return govern(one(node), contracts={"n": Contract(**contract)}, policy=policy, sidecar=of)

    return build


def run(graph: Any, session: str = "t", tenant: str = "acme") -> Any:
    config: Any = {"configurable": {"thread_id": session, "tenant_id": tenant}}
    return graph.invoke({"out": ""}, config)


def until_stopped(graph: Any, *args: str) -> int:
    """How often it runs, well or not, before it is stopped."""
    for done in range(100):
        try:
            run(graph, *args)
        except Halted:
            return done
        except Exception:
            pass
    raise AssertionError("it was never stopped")


def lift(sidecar: Sidecar) -> None:
    """As a person does it, in another process, who sees the stop in the file first."""
    with closing(Control(sidecar.control.path)) as other:
        while not other.rows("SELECT * FROM stops"):
            time.sleep(0.005)
        other.resume("session", "t")
    time.sleep(2 * GOOD)


def fails(state: Any) -> Any:
    raise ValueError("no")


def talks() -> Any:
    usage = UsageMetadata(input_tokens=40, output_tokens=60, total_tokens=100)
    model = GenericFakeChatModel(messages=(AIMessage("x", usage_metadata=usage) for _ in itertools.count()))
    return lambda s: {"out": str(model.invoke("hi").content)}


def test_a_session_that_spends_too_much_is_stopped_and_others_are_not(under: Governed, rows: Any) -> None:
    graph = under(talks(), HaltRule(when="spend", over=250, within=3600))

    assert 3 == until_stopped(graph)
    assert 3 == until_stopped(graph, "other")
    assert [("session", "t", 300), ("session", "other", 300)] == [
        (r.body["scope"], r.body["name"], r.body["found"]) for r in rows("halt.tripped")
    ]


def test_tokens_count_where_a_budget_counts_them_too(under: Governed, sidecar: Sidecar) -> None:
    assert 2 == until_stopped(under(talks(), HaltRule(when="spend", over=150, within=3600), tokens=10_000))


def test_errors_are_counted_once_however_far_they_go(under: Governed, till: Any) -> None:
    """The tool fails, and with it its node; what wraps the error tells of the same."""

    def node(state: Any) -> Any:
        try:
            till.broken.invoke({})
        except ValueError as error:
            raise RuntimeError("wrapped") from error

    till.broken = till.tool("broken")
    till.broken.func = lambda amount=1: fails(None)

    assert 4 == until_stopped(under(node, HaltRule(when="errors", over=3, within=3600), tools=["broken"]))


def test_what_a_node_catches_is_counted_too(under: Governed, till: Any) -> None:
    def node(state: Any) -> Any:
        for _ in range(10):
            try:
                till.broken.invoke({})
            except ValueError:
                pass

    till.broken = till.tool("broken")
    till.broken.func = lambda amount=1: fails(None)
    graph = under(node, HaltRule(when="errors", over=3, within=3600, of="tool"), tools=["broken"])

    with pytest.raises(Halted, match=r"stopped by rule:errors: 4 failed calls within 3600 s, more than the 3"):
        run(graph)


def test_errors_in_many_nodes_stop_a_session_and_many_in_one_do_not(sidecar: Sidecar, line: Any) -> None:
    def failing(state: Any) -> Any:
        raise ValueError("no")

    policy = Policy(halt=(HaltRule(when="spread", over=2, within=3600, of="all"),))
    graphs = [
        govern(line(**{name: failing}), contracts={"*": Contract()}, policy=policy, sidecar=sidecar) for name in "abc"
    ]
    for _ in range(5):
        for graph in graphs[:2]:
            with pytest.raises(ValueError):
                run(graph)
    with pytest.raises(ValueError):
        run(graphs[2])

    for graph in graphs:
        with pytest.raises(Halted):
            run(graph)


@pytest.mark.parametrize("kind", ["authority", "answered", "gate", "revised"])
def test_refusals_are_counted_whichever_way_they_go(kind: str, under: Governed, till: Any) -> None:
    pays = lambda s: {"out": str(till.pay.invoke({"amount": 100}))}
    refuse = custom(lambda call, update: "no", otherwise="halt")
    revise = custom(lambda call, update: "no")
    node, contract = {
        "authority": (pays, {"tools": [Tool("pay", where={"amount": at_most(1)})]}),
        "answered": (pays, {"tools": [Tool("pay", where={"amount": at_most(1)}, refusals="answer")]}),
        "gate": (lambda s: {"out": "x"}, {"gates": [refuse]}),
        "revised": (lambda s: {"out": "x"}, {"gates": [revise], "attempts": 2}),
    }[kind]
    graph = under(node, HaltRule(when="rejections", over=3, within=3600), **contract)

    assert {"revised": 2}.get(kind, 4) == until_stopped(graph)


def test_stops_do_not_trip_further_rules(under: Governed, sidecar: Sidecar, rows: Any) -> None:
    graph = under(lambda s: {"out": "x"}, HaltRule(when="rejections", over=3, within=3600))
    sidecar.control.stop("agent", "n", reason="drill", by="alice")

    for _ in range(10):
        with pytest.raises(Halted, match="drill"):
            run(graph)

    assert [] == rows("halt")


def test_the_effect_that_is_too_many_does_not_begin_and_may_happen_later(
    under: Governed, till: Any, sidecar: Sidecar, rows: Any
) -> None:
    numbers = itertools.count()
    graph = under(
        lambda s: {"out": str(till.refund.invoke({"amount": next(numbers)}))},
        HaltRule(when="effects", over=3, within=3600, of="tenant"),
        tools=["refund"],
    )
    done = [until_stopped(graph, "a"), until_stopped(graph, "b"), until_stopped(graph, "c", "other")]

    assert [3, 0, 3] == done
    assert 6 == len(till.done)
    assert 2 == len(rows("effect.declined"))
    sidecar.control.resume("tenant", "acme")
    run(graph, "d")
    assert 7 == len(till.done)


def test_reads_are_no_effects(under: Governed, till: Any) -> None:
    numbers = itertools.count()
    graph = under(
        lambda s: {"out": str(till.lookup.invoke({"amount": next(numbers)}))},
        HaltRule(when="effects", over=1, within=3600),
        tools=["lookup"],
    )

    for _ in range(5):
        run(graph)


@pytest.mark.parametrize(
    ("of", "name", "others"),
    [("session", "t", ("s", "acme")), ("tenant", "acme", ("t", "other")), ("agent", "n", None), ("all", "*", None)],
)
def test_what_is_counted_is_what_is_stopped(
    of: str, name: str, others: tuple[str, str] | None, under: Governed, sidecar: Sidecar
) -> None:
    graph = under(fails, HaltRule(when="errors", over=2, within=3600, of=of))
    until_stopped(graph)

    assert [(of, name)] == list(sidecar.control.stops)
    if others is not None:
        with pytest.raises(ValueError):
            run(graph, *others)


def test_it_is_in_force_here_while_the_file_cannot_be_written(under: Governed, sidecar: Sidecar) -> None:
    graph = under(fails, HaltRule(when="errors", over=1, within=3600))
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with sidecar.control.transaction():
            held.set()
            free.wait(60)

    with pytest.raises(ValueError):
        run(graph)
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    try:
        with pytest.raises(ValueError):
            run(graph)
        with pytest.raises(Halted):
            run(graph)
    finally:
        free.set()
        holder.join()


def test_it_is_written_for_all_processes(under: Governed, sidecar: Sidecar) -> None:
    until_stopped(under(fails, HaltRule(when="errors", over=1, within=3600)))
    with closing(Control(sidecar.control.path)) as other:
        until = time.monotonic() + 60
        while not other.stops and time.monotonic() < until:
            other.refresh()
            time.sleep(0.005)
        found = other.stops["session", "t"]

    assert ("rule:errors", True) == (found.by, "2 failed calls within 3600 s" in found.reason)


def test_a_lifted_stop_does_not_trip_on_old_events_in_any_process(under: Governed, sidecar: Sidecar) -> None:
    """Another process has counted as well: what it had counted before the lifting is over too."""
    other = Sidecar(ledger=sidecar.ledger.path)
    rule = HaltRule(when="errors", over=3, within=3600)
    here, there = under(fails, rule), under(fails, rule, of=other)
    try:
        for _ in range(3):
            with pytest.raises(ValueError):
                run(there)
        assert 4 == until_stopped(here)
        lift(sidecar)

        for graph in (there, here):
            assert 4 == until_stopped(graph)
            lift(sidecar)
    finally:
        other.close()


def test_a_stop_that_is_lifted_before_it_is_written_is_never_written(under: Governed, sidecar: Sidecar) -> None:
    graph = under(fails, HaltRule(when="errors", over=1, within=3600))
    held, free, lifted = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with sidecar.control._lock:
            held.set()
            free.wait(60)
            sidecar.control.resume("session", "t")
            lifted.set()

    with pytest.raises(ValueError):
        run(graph)
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    with pytest.raises(ValueError):
        run(graph)
    assert ("session", "t") in sidecar.control.stops
    free.set()
    holder.join()
    sidecar.control.soon(lambda db: None, lifted.set)
    sidecar.control.close()

    with closing(Control(sidecar.control.path)) as other:
        assert [] == other.rows("SELECT * FROM stops")


def test_many_at_once_stop_it_once(under: Governed, rows: Any) -> None:
    graph = under(fails, HaltRule(when="errors", over=10, within=3600, of="all"))

    def work(number: int) -> None:
        with pytest.raises((ValueError, Halted)):
            run(graph, str(number))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(200)))

    assert 1 == len(rows("halt.tripped"))
    assert 31 >= len(rows("node.failed")) >= 11


def test_a_rule_stops_async_runs_too(under: Governed) -> None:
    graph = under(fails, HaltRule(when="errors", over=2, within=3600, of="all"))

    async def work() -> list[type]:
        ended = []
        for number in range(4):
            try:
                await graph.ainvoke({"out": ""}, {"configurable": {"thread_id": str(number)}})
            except Exception as error:
                ended.append(type(error))
        return ended

    assert [ValueError, ValueError, ValueError, Halted] == asyncio.run(work())


def test_an_operators_stop_is_not_replaced_by_a_rule(under: Governed, sidecar: Sidecar, rows: Any) -> None:
    def node(state: Any) -> Any:
        stopped.wait(60)
        raise ValueError("no")

    stopped = threading.Event()
    graph = under(node, HaltRule(when="errors", over=1, within=3600))
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run, graph) for _ in range(2)]
        while len(rows("node.begun")) < 2:
            time.sleep(0.005)
        sidecar.control.stop("session", "t", reason="mine", by="alice")
        stopped.set()
        assert all(one.exception() for one in running)

    assert ("alice", []) == (sidecar.control.stops["session", "t"].by, rows("halt"))


def test_without_rules_nothing_counts(sidecar: Sidecar, one: Any) -> None:
    graph = govern(one(lambda s: {"out": "x"}), contracts={"n": Contract()}, sidecar=sidecar)
    run(graph)

    assert 0 == len(sidecar.halts._known)


def test_effects_that_are_found_again_are_not_counted(sidecar: Sidecar, line: Any, till: Any, under: Governed) -> None:
    """A node that runs again finds its effect done: nothing happens, so nothing is too many."""
    tries = itertools.count()

    def node(state: Any) -> Any:
        out = str(till.refund.invoke({"amount": 7}))
        if next(tries) < 4:
            raise ConnectionError("later")
        return {"out": out}

    policy = Policy(halt=(HaltRule(when="effects", over=1, within=3600),))
    contract = Contract(tools=["refund"], effects={"refund": SideEffect("write")})
    graph = govern(
        line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts={"n": contract}, policy=policy,
        sidecar=sidecar,
    )  # fmt: skip
    config: Any = {"configurable": {"thread_id": "t"}}
    for given in ({"out": ""}, None, None, None):
        with pytest.raises(ConnectionError):
            graph.invoke(given, config)

    assert "refund 7" in graph.invoke(None, config)["out"]
    assert 1 == len(till.done)
