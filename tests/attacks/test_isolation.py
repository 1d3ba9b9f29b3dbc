"""A failing sibling stops nobody, a hanging one nobody for long; what was refused is never made less of."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from langgraph.types import Command, RetryPolicy, Send, TimeoutPolicy, interrupt

from governance import Contract, Sidecar, SideEffect, Tool, at_most, declares, govern, isolated
from governance.errors import (
    ApprovalDenied,
    AuthorityRefused,
    ContractViolation,
    EffectInDoubt,
    GateRefused,
    Halted,
    LoopStopped,
    Refusal,
)
from governance.gates import custom
from governance.isolation import CHANNEL
from governance.policy import LoopPolicy, Policy
from governance.testing.models import ScriptedChatModel
from tests.attacks.answers import LOCAL, answer, asked, paying

FOREVER = 60.0
"""Seconds after which a test that hangs is broken; nothing waits that long."""
ISOLATES = Contract(on_failure="isolate")
READS = Contract(reads_failures=True)
CONFIG: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    good: int
    bad: int
    seen: list[Any]
    did: Annotated[list[str], operator.add]


class Gate:
    """A place where a node hangs until the test is done with everything else."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.late: list[str] = []
        self.left = threading.Event()

    def hang(self, act: Callable[[], Any]) -> dict[str, Any]:
        """Wait, and then try to act all the same."""
        self.opened.wait(FOREVER)
        try:
            act()
            self.late.append("acted")
        except Refusal as refusal:
            self.late.append(refusal.code)
        finally:
            self.left.set()
        return {"did": ["the late one wrote"]}

    def open(self) -> None:
        self.opened.set()
        assert self.left.wait(FOREVER)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def until_open(graph: Any, mode: str, gate: Gate) -> Any:
    """What a run comes to while a node of it hangs, which goes on afterwards."""

    async def arun() -> Any:
        result = await graph.ainvoke({"did": []}, CONFIG)
        await asyncio.to_thread(gate.open)  # a loop that closes waits for its threads
        return result

    if mode == "async":
        return asyncio.run(arun())
    result = graph.invoke({"did": []}, CONFIG)
    gate.open()
    return result


def boom(state: Any) -> Any:
    raise ValueError("boom")


def good(state: Any) -> Any:
    return {"good": 1, "did": ["good"]}


def seen(state: Any) -> Any:
    return {"seen": [(one.node, one.kind, one.error) for one in isolated()]}


def beside(*, bad: Any = boom, join: Any = seen, options: Any = None, **compiled: Any) -> Any:
    """`good` and `bad` side by side, and `join` after both."""
    builder = StateGraph(State)
    builder.add_node("good", good)
    builder.add_node("bad", bad, **(options or {}))
    builder.add_node("join", join)
    builder.add_edge(START, "good").add_edge(START, "bad").add_edge(["good", "bad"], "join")
    return builder.compile(**compiled)


def ruled(graph: Any, sidecar: Sidecar, bad: Contract = ISOLATES, **options: Any) -> Any:
    return govern(graph, contracts={"bad": bad, "join": READS, "*": Contract()}, sidecar=sidecar, **options)


@pytest.mark.parametrize("saver", [None, InMemorySaver])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_one_fails_one_hangs_and_the_third_completes(
    mode: str, saver: Any, sidecar: Sidecar, till: Any, gate: Gate
) -> None:
    """The acceptance: the join reads two typed failures, and the hanging one can do nothing afterwards."""
    builder = StateGraph(State)
    builder.add_node("good", good).add_node("bad", boom).add_node("join", seen)
    builder.add_node("slow", lambda state: gate.hang(lambda: till.refund.invoke({"amount": 5})))
    for name in ("good", "bad", "slow"):
        builder.add_edge(START, name)
    builder.add_edge(["good", "bad", "slow"], "join")
    contracts = {
        "good": Contract(),
        "bad": ISOLATES,
        "slow": Contract(on_failure="isolate", timeout=0.3, tools=["refund"]),
        "join": READS,
    }
    graph = govern(builder.compile(checkpointer=saver and saver()), contracts=contracts, sidecar=sidecar)
    result = until_open(graph, mode, gate)

    assert {"good": 1, "did": ["good"]} == {key: result[key] for key in ("good", "did")}
    assert [("bad", "error", "ValueError"), ("slow", "deadline", "DeadlineExceeded")] == sorted(result["seen"])
    assert (["deadline"], []) == (gate.late, till.done)


def test_a_coroutine_that_hangs_is_left_behind_too(sidecar: Sidecar, till: Any) -> None:
    """Also one that takes no notice of being cancelled."""
    late: list[str] = []
    left = asyncio.Event()

    async def hangs(state: Any) -> Any:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER)
        try:
            await till.refund.ainvoke({"amount": 5})
        except Refusal as refusal:
            late.append(refusal.code)
        finally:
            left.set()
        return {"did": ["the late one wrote"]}

    async def fails(state: Any) -> Any:
        raise ValueError("boom")

    async def arun() -> Any:
        builder = StateGraph(State).add_node("good", good).add_node("bad", fails).add_node("slow", hangs)
        builder.add_node("join", seen).add_edge(["good", "bad", "slow"], "join")
        for name in ("good", "bad", "slow"):
            builder.add_edge(START, name)
        contracts = {"slow": Contract(on_failure="isolate", timeout=0.3, tools=["refund"]), "bad": ISOLATES}
        graph = govern(builder.compile(), contracts={**contracts, "join": READS, "good": Contract()}, sidecar=sidecar)
        result = await graph.ainvoke({"did": []})
        await left.wait()
        return result

    result = asyncio.run(arun())

    assert (["good"], ["deadline"], []) == (result["did"], late, till.done)
    assert [("bad", "error", "ValueError"), ("slow", "deadline", "DeadlineExceeded")] == sorted(result["seen"])


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_branches_of_a_send_fail_alone(mode: str, sidecar: Sidecar, till: Any, gate: Gate) -> None:
    def work(payload: Any) -> Any:
        if payload["n"] == 1:
            raise ValueError("boom")
        if payload["n"] == 2:
            return gate.hang(lambda: till.refund.invoke({"amount": 5}))
        return {"did": [f"did {payload['n']}"]}

    def joined(state: Any) -> Any:
        return {"seen": sorted((one.node, one.path.partition(".s")[2], one.kind) for one in isolated())}

    builder = StateGraph(State)
    builder.add_node("plan", lambda state: {}).add_node("work", work).add_node("join", joined)
    builder.add_edge(START, "plan").add_edge("work", "join")
    builder.add_conditional_edges("plan", lambda state: [Send("work", {"n": n}) for n in range(4)], ["work"])
    contracts = {
        "plan": Contract(),
        "work": Contract(on_failure="isolate", timeout=0.3, tools=["refund"]),
        "join": READS,
    }
    graph = govern(builder.compile(), contracts=contracts, sidecar=sidecar)
    result = until_open(graph, mode, gate)

    assert ["did 0", "did 3"] == sorted(result["did"])
    assert [("work", "1", "error"), ("work", "2", "deadline")] == result["seen"]
    assert (["deadline"], []) == (gate.late, till.done)


def over_budget(till: Any) -> Any:
    return lambda state: {"did": [str(ScriptedChatModel(["word"]).invoke("long " * 200).content)]}


def in_doubt(till: Any) -> Any:
    """An effect that failed half-way, which the node tries again."""

    @declares(SideEffect("write"))
    @tool
    def refund(amount: int) -> str:
        """Fails after it has begun."""
        raise ConnectionError("the line was cut")

    def node(state: Any) -> Any:
        for _ in range(2):
            with suppress(ConnectionError):
                refund.invoke({"amount": 1})
        raise ValueError("tried twice")

    return node


def repeating(till: Any) -> Any:
    def node(state: Any) -> Any:
        while True:
            till.lookup.invoke({"amount": 1})

    return node


REFUSED: dict[str, tuple[type[Refusal], Callable[[Any], Any], dict[str, Any]]] = {
    "a tool that is not allowed": (AuthorityRefused, lambda till: lambda s: till.pay.invoke({}), {}),
    "an argument": (
        AuthorityRefused,
        lambda till: lambda s: till.pay.invoke({"amount": 9}),
        {"tools": [Tool("pay", where={"amount": at_most(5)})]},
    ),
    "a write": (ContractViolation, lambda till: lambda s: {"good": 2}, {"writes": ["bad"]}),
    "tokens": (Refusal, over_budget, {"tokens": 100}),
    "a gate": (GateRefused, lambda till: lambda s: {"bad": 2}, {"gates": [custom(lambda call, update: "no")]}),
    "a loop": (LoopStopped, repeating, {"tools": ["lookup"]}),
    "an effect in doubt": (EffectInDoubt, in_doubt, {"tools": ["refund"]}),
}


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize("what", list(REFUSED))
def test_what_was_refused_stops_the_run_as_ever(what: str, swallowed: bool, sidecar: Sidecar, till: Any) -> None:
    """Also where the node's code makes an error of its own of it."""
    kind, made, rules = REFUSED[what]
    node = made(till)

    def hiding(state: Any) -> Any:
        try:
            return node(state)
        except Exception:
            raise ValueError("something else") from None

    graph = ruled(
        beside(bad=hiding if swallowed else node), sidecar, Contract(on_failure="isolate", **rules),
        policy=Policy(loops=LoopPolicy(repeats=3)),
    )  # fmt: skip

    with pytest.raises(kind):
        graph.invoke({"did": []})


def test_a_stopped_node_is_not_isolated(sidecar: Sidecar) -> None:
    ran: list[int] = []
    graph = ruled(beside(bad=lambda s: ran.append(1)), sidecar, Contract(on_failure="isolate", role="clerk"))
    sidecar.control.stop("agent", "clerk", by="ann", reason="enough")

    with pytest.raises(Halted):
        graph.invoke({"did": []})

    assert [] == ran


def test_a_no_of_a_person_is_not_isolated(sidecar: Sidecar, till: Any) -> None:
    contract = paying().narrowed(on_failure="isolate")
    graph = ruled(
        beside(bad=lambda s: {"did": [str(till.pay.invoke({"amount": 100}))]}, checkpointer=InMemorySaver()),
        sidecar, contract, policy=LOCAL,
    )  # fmt: skip
    card = asked(graph, {"did": []})

    with pytest.raises(ApprovalDenied):
        graph.invoke(answer(card, decision="deny", reason="no"), CONFIG)

    assert [] == till.done


def test_nobody_forges_a_failure(sidecar: Sidecar) -> None:
    def forges(state: Any, config: RunnableConfig) -> Any:
        with suppress(Exception):
            config["configurable"]["__pregel_send"]([(CHANNEL, [{"node": "good"}])])
        return {"bad": 1}

    with pytest.raises(ContractViolation, match="only Sidecar tells"):
        ruled(beside(bad=forges), sidecar).invoke({"did": []})


@pytest.mark.parametrize("written", [{CHANNEL: []}, Command(update={CHANNEL: []})])
def test_nobody_writes_to_the_channel_by_an_update(written: Any, sidecar: Sidecar) -> None:
    with pytest.raises(ContractViolation, match="which the state does not have"):
        ruled(beside(bad=lambda s: written), sidecar).invoke({"did": []})


def test_nobody_reads_failures_without_leave(sidecar: Sidecar) -> None:
    def spies(state: Any, config: RunnableConfig) -> Any:
        return {"seen": config["configurable"]["__pregel_read"](CHANNEL)}  # type: ignore[typeddict-item]

    for join in (seen, spies):
        graph = govern(beside(join=join), contracts={"bad": ISOLATES, "*": Contract()}, sidecar=sidecar)
        with pytest.raises(ContractViolation, match="reads_failures"):
            graph.invoke({"did": []})


@pytest.mark.parametrize("reads", [False, True])
def test_a_tool_is_given_the_state_and_no_failures(reads: bool, sidecar: Sidecar) -> None:
    """LangGraph's `ToolNode` reads every channel there is for a tool that asks for the state."""
    given: list[Any] = []

    @tool
    def look(state: Annotated[Any, InjectedState]) -> str:
        """Looks at the state."""
        given.append(sorted(state))
        return "seen"

    call = {"type": "tool_call", "name": "look", "args": {}, "id": "c0"}
    builder = StateGraph(MessagesState)
    builder.add_node("bad", boom).add_node("ask", lambda state: {}).add_node("tools", ToolNode([look]))
    builder.add_edge(START, "bad").add_edge("bad", "ask")
    builder.add_conditional_edges("ask", lambda state: [Send("tools", [call])], ["tools"])
    contracts = {"bad": ISOLATES, "ask": Contract(), "tools": Contract(tools=["look"], reads_failures=reads)}
    govern(builder.compile(), contracts=contracts, sidecar=sidecar).invoke({"messages": []})

    assert [] != given
    assert CHANNEL not in given[0]


def test_the_channel_is_in_no_result_and_no_drawing(sidecar: Sidecar) -> None:
    bare = beside().get_graph(xray=True).to_json()
    graph = ruled(beside(checkpointer=InMemorySaver()), sidecar)
    pieces = list(graph.stream({"did": []}, CONFIG, stream_mode=["values", "updates", "debug", "tasks"]))

    assert bare == graph.get_graph(xray=True).to_json()
    assert CHANNEL not in str(pieces)
    assert {"good", "seen", "did"} == graph.get_state(CONFIG).values.keys()


def test_only_a_graph_that_isolates_has_the_channel(sidecar: Sidecar) -> None:
    graph = beside()
    govern(graph, contracts={"*": Contract(reads_failures=True)}, sidecar=sidecar)

    assert CHANNEL not in graph.channels


@pytest.mark.parametrize("copied", [lambda g: g.copy(), lambda g: g.with_config(tags=["x"]), lambda g: g.copy({})])
def test_copies_isolate_too(copied: Any, sidecar: Sidecar) -> None:
    graph = copied(ruled(beside(), sidecar))

    assert [("bad", "error", "ValueError")] == graph.invoke({"did": []})["seen"]


def test_a_copy_from_before_does_not_lose_a_failure(sidecar: Sidecar) -> None:
    """It has no channel to keep it in, so the run ends by the error, as ever."""
    graph = beside()
    older = graph.copy()
    ruled(graph, sidecar)

    with pytest.raises(ValueError, match="boom"):
        older.invoke({"did": []})


def test_retries_come_first(sidecar: Sidecar, rows: Any) -> None:
    runs: list[int] = []

    def flaky(state: Any) -> Any:
        runs.append(1)
        raise ConnectionError("again")

    patient = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False)
    read: list[Any] = []

    def join(state: Any) -> Any:
        read.extend(isolated())
        return {}

    ruled(beside(bad=flaky, join=join, options={"retry_policy": patient}), sidecar).invoke({"did": []})

    assert (3, [3]) == (len(runs), [one.attempts for one in read])
    assert [3] == [row.body["attempts"] for row in rows("failure.isolated")]


def test_what_the_second_attempt_mends_is_no_failure(sidecar: Sidecar) -> None:
    runs: list[int] = []

    def flaky(state: Any) -> Any:
        runs.append(1)
        if len(runs) == 1:
            raise ConnectionError("again")
        return {"bad": 2}

    patient = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False)
    result = ruled(beside(bad=flaky, options={"retry_policy": patient}), sidecar).invoke({"did": []})

    assert (2, []) == (result["bad"], result["seen"])


def deciding(sidecar: Sidecar, contract: Contract, bad: Any = boom) -> Any:
    """`bad` leads to `left` or `right` by a key that it would have written."""
    builder = StateGraph(State)
    builder.add_node("bad", bad)
    for name in ("left", "right", "rescue"):
        builder.add_node(name, lambda state, name=name: {"did": [name]})  # type: ignore[misc]
    builder.add_edge(START, "bad")
    builder.add_conditional_edges("bad", lambda state: "left" if state["bad"] > 0 else "right", ["left", "right"])
    return govern(builder.compile(), contracts={"bad": contract, "*": Contract()}, sidecar=sidecar)


def test_an_edge_that_decides_is_not_asked_about_a_state_without_its_keys(sidecar: Sidecar) -> None:
    graph = deciding(sidecar, Contract(on_failure="isolate", failure_route="rescue"))

    assert ["rescue"] == graph.invoke({"did": []})["did"]


def test_a_failure_of_the_deciding_edge_itself_takes_the_update_with_it(sidecar: Sidecar) -> None:
    graph = deciding(
        sidecar, Contract(on_failure="isolate", failure_route="rescue"), lambda s: {"good": 3, "did": ["b"]}
    )

    assert {"did": ["rescue"]} == graph.invoke({"did": []})


def test_a_route_to_the_end_stops_the_branch(sidecar: Sidecar) -> None:
    graph = deciding(sidecar, Contract(on_failure="isolate", failure_route=END))

    assert [] == graph.invoke({"did": []})["did"]


def test_a_new_input_begins_without_failures(sidecar: Sidecar) -> None:
    fails = [True]

    def sometimes(state: Any) -> Any:
        return boom(state) if fails.pop() else {"bad": 1}

    graph = ruled(beside(bad=sometimes, checkpointer=InMemorySaver()), sidecar)
    first = graph.invoke({"did": []}, CONFIG)["seen"]
    fails.append(False)

    assert ([("bad", "error", "ValueError")], []) == (first, graph.invoke({"did": []}, CONFIG)["seen"])


def test_a_new_input_through_an_entry_that_decides_clears_them_too(sidecar: Sidecar) -> None:
    fails = [True]
    builder = StateGraph(State)
    builder.add_node("bad", lambda state: boom(state) if fails.pop() else {"bad": 1}).add_node("join", seen)
    builder.add_conditional_edges(START, lambda state: "bad", ["bad"]).add_edge("bad", "join")
    graph = ruled(builder.compile(checkpointer=InMemorySaver()), sidecar)
    graph.invoke({"did": []}, CONFIG)
    fails.append(False)

    assert [] == graph.invoke({"did": []}, CONFIG)["seen"]


def test_a_resumed_run_neither_runs_it_again_nor_forgets_it(sidecar: Sidecar) -> None:
    runs: list[int] = []
    crash = [True]

    def bad(state: Any) -> Any:
        runs.append(1)
        raise ValueError("boom")

    def join(state: Any) -> Any:
        if crash.pop():
            raise KeyboardInterrupt
        return seen(state)

    graph = ruled(beside(bad=bad, join=join, checkpointer=InMemorySaver()), sidecar)
    with pytest.raises(KeyboardInterrupt):
        graph.invoke({"did": []}, CONFIG)
    crash.append(False)

    assert [("bad", "error", "ValueError")] == graph.invoke(None, CONFIG)["seen"]
    assert 1 == len(runs)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_question_beside_it_is_answered_as_ever(mode: str, sidecar: Sidecar) -> None:
    runs: list[int] = []

    def bad(state: Any) -> Any:
        runs.append(1)
        raise ValueError("boom")

    builder = StateGraph(State)
    builder.add_node("ask", lambda state: {"did": [interrupt("who?")]}).add_node("bad", bad).add_node("join", seen)
    builder.add_edge(START, "ask").add_edge(START, "bad").add_edge(["ask", "bad"], "join")
    graph = ruled(builder.compile(checkpointer=InMemorySaver()), sidecar)

    def run(given: Any) -> Any:
        return graph.invoke(given, CONFIG) if mode == "sync" else asyncio.run(graph.ainvoke(given, CONFIG))

    run({"did": []})
    result = run(Command(resume="bob"))

    assert (["bob"], [("bad", "error", "ValueError")], 1) == (result["did"], result["seen"], len(runs))


def test_a_graph_in_a_node_fails_as_one(sidecar: Sidecar, line: Any) -> None:
    inner = line(State, first=good, second=boom)
    graph = govern(beside(bad=inner), contracts={"bad": ISOLATES, "join": READS, "*": Contract()}, sidecar=sidecar)
    result = graph.invoke({"did": []})

    assert (["good"], [("bad", "error", "ValueError")]) == (result["did"], result["seen"])


@pytest.mark.parametrize("found", ["at once", "when it runs"])
def test_a_node_of_a_graph_inside_is_isolated_there(found: str, sidecar: Sidecar, line: Any) -> None:
    inner = line(State, bad=boom, join=seen)
    held = {"inner": inner}
    bad = inner if found == "at once" else lambda state: held["inner"].invoke({"did": []})
    contracts = {"bad": Contract(), "bad/bad": ISOLATES, "bad/join": READS, "*": Contract(reads_failures=True)}
    read: list[Any] = []

    def join(state: Any) -> Any:
        read.append((state["seen"], isolated()))
        return {}

    govern(beside(bad=bad, join=join), contracts=contracts, sidecar=sidecar).invoke({"did": []})

    assert [([("bad/bad", "error", "ValueError")], ())] == read


def test_a_node_inside_one_that_is_over_does_not_go_on(sidecar: Sidecar, gate: Gate, line: Any) -> None:
    """Its failure is the outer node's deadline: it would lead the graph inside on, which nobody waits for."""
    after: list[int] = []
    inner = line(
        State,
        bad=lambda state: gate.hang(lambda: None) and boom(state),
        after=lambda state: after.append(1),
    )
    contracts = {"n": Contract(timeout=0.3), "n/*": ISOLATES}
    done = threading.Event()

    def node(state: Any) -> Any:
        try:
            return inner.invoke({"did": []})
        finally:
            done.set()

    graph = govern(line(State, n=node), contracts=contracts, sidecar=sidecar)
    with pytest.raises(Refusal):
        graph.invoke({"did": []})
    gate.open()

    assert done.wait(FOREVER)
    assert [] == after


@pytest.mark.parametrize("ends", ["well", "in doubt"])
def test_a_failure_tells_what_its_node_had_done(ends: str, sidecar: Sidecar, rows: Any) -> None:
    @declares(SideEffect("write"))
    @tool
    def refund(amount: int) -> str:
        """Pays."""
        if ends == "in doubt":
            raise ConnectionError("the line was cut")
        return "paid"

    def bad(state: Any) -> Any:
        refund.invoke({"amount": 5})
        raise ValueError("boom")

    read: list[Any] = []

    def join(state: Any) -> Any:
        read.extend(isolated())
        return {}

    ruled(beside(bad=bad, join=join), sidecar, Contract(on_failure="isolate", tools=["refund"])).invoke({"did": []})
    state = {"well": "finished"}.get(ends, ends)

    assert [[("refund", "bad#1>refund.0", state)]] == [[(e.tool, e.path, e.state) for e in one.effects] for one in read]
    assert [state] == [e["state"] for row in rows("failure.isolated") for e in row.body["effects"]]


def test_a_timeout_of_langgraph_isolates_too_and_ends_what_goes_on(sidecar: Sidecar, till: Any) -> None:
    late: list[str] = []

    async def bad(state: Any) -> Any:
        while True:  # code that no cancellation ends
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)
                if late:
                    return {}
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    try:
                        await till.refund.ainvoke({"amount": 1})
                        late.append("acted")
                    except Refusal as refusal:
                        late.append(refusal.code)

    async def run() -> Any:
        graph = ruled(
            beside(bad=bad, options={"timeout": TimeoutPolicy(run_timeout=0.3)}), sidecar,
            Contract(on_failure="isolate", tools=["refund"]),
        )  # fmt: skip
        result = await graph.ainvoke({"did": []})
        for _ in range(600):
            if late:
                break
            await asyncio.sleep(0.05)
        return result

    assert [("bad", "error", "NodeTimeoutError")] == asyncio.run(run())["seen"]
    assert [] == till.done


def test_an_error_that_no_store_can_write_is_told_all_the_same(sidecar: Sidecar) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    read: list[str] = []
    for error in (ValueError("half \ud800 a pair"), ValueError("x" * 100_000), Odd()):

        def bad(state: Any, error: Exception = error) -> Any:
            raise error

        def join(state: Any) -> Any:
            read.extend(one.message for one in isolated())
            return {}

        ruled(beside(bad=bad, join=join, checkpointer=InMemorySaver()), sidecar).invoke({"did": []}, CONFIG)

    assert ["half \\ud800 a pair", 2_000, ""] == [read[0], len(read[1]), read[2]]
