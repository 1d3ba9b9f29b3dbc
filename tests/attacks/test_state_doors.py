"""State that is changed past the nodes: update_state, Command input, rewinds, copies, other savers, code of nodes."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Command, Send, StateUpdate

from governance import Contract, Sidecar, govern
from governance import operator as person
from governance.errors import ContractError, DoorClosed, GovernanceError, Refusal


class Account(TypedDict, total=False):
    out: str
    balance: int
    log: Annotated[list[str], operator.add]


CONFIG: Any = {"configurable": {"thread_id": "t"}}


@pytest.fixture
def account(sidecar: Sidecar, line: Any) -> Any:
    """A governed account with a balance of 10, resting after its two nodes."""
    graph = line(
        Account, {"checkpointer": InMemorySaver()}, first=lambda s: {"balance": 10}, second=lambda s: {"log": ["done"]}
    )
    govern(
        graph, contracts={"first": Contract(writes=["balance"]), "second": Contract(writes=["log"])}, sidecar=sidecar
    )
    graph.invoke({"out": ""}, CONFIG)
    return graph


def copies(graph: Any) -> dict[str, Any]:
    """The graph as a server makes it: copied, configured, on the same checkpoints."""
    return {
        "itself": graph,
        "copy": graph.copy(),
        "copy with its saver": graph.copy(update={"checkpointer": graph.checkpointer}),
        "configured": graph.with_config({"tags": ["x"]}),
        "saver in the config": graph.copy(update={"checkpointer": None}).with_config(
            {"configurable": {"__pregel_checkpointer": graph.checkpointer}}
        ),
    }


COPIES = ["itself", "copy", "copy with its saver", "configured", "saver in the config"]
DOORS: dict[str, Callable[[Any], Any]] = {
    "update_state": lambda g: g.update_state(CONFIG, {"balance": 1000}),
    "update_state as a node": lambda g: g.update_state(CONFIG, {"balance": 1000}, as_node="first"),
    "update_state, no values": lambda g: g.update_state(CONFIG, None, as_node="first"),
    "bulk_update_state": lambda g: g.bulk_update_state(CONFIG, [[StateUpdate({"balance": 1000}, "first")]]),
    "aupdate_state": lambda g: asyncio.run(g.aupdate_state(CONFIG, {"balance": 1000})),
    "abulk_update_state": lambda g: asyncio.run(
        g.abulk_update_state(CONFIG, [[StateUpdate({"balance": 1000}, "first")]])
    ),
    "Command update": lambda g: g.invoke(Command(update={"balance": 1000}), CONFIG),
    "Command goto": lambda g: g.invoke(Command(goto="second"), CONFIG),
    "Command send": lambda g: g.invoke(Command(goto=Send("second", {})), CONFIG),
    "Command resume and update": lambda g: g.invoke(Command(resume=1, update={"balance": 1000}), CONFIG),
    "Command, async": lambda g: asyncio.run(g.ainvoke(Command(update={"balance": 1000}), CONFIG)),
    "Command, streamed": lambda g: list(g.stream(Command(update={"balance": 1000}), CONFIG)),
    "Command in a batch": lambda g: g.batch([Command(update={"balance": 1000})], CONFIG),
    "Command by version 2": lambda g: g.invoke(Command(update={"balance": 1000}), CONFIG, version="v2"),
    "rewind": lambda g: g.invoke(None, oldest(g)),
    "rewind with input": lambda g: g.invoke({"out": "x"}, oldest(g)),
    "rewind, async": lambda g: asyncio.run(g.ainvoke(None, oldest(g))),
    "rewind by with_config": lambda g: g.with_config(oldest(g)).invoke(None),
    "rewind through a runnable": lambda g: RunnableLambda(lambda x: g.invoke(None)).invoke("x", oldest(g)),
    "rewind through a runnable, async": lambda g: asyncio.run(
        RunnableLambda(lambda x: x, afunc=lambda x: g.ainvoke(None)).ainvoke("x", oldest(g))
    ),
    "Command through a runnable": lambda g: (RunnableLambda(lambda x: x) | g).invoke(
        Command(update={"balance": 1000}), CONFIG
    ),
}


def oldest(graph: Any) -> Any:
    return [s for s in graph.get_state_history(CONFIG) if s.next == ("second",)][-1].config


@pytest.mark.parametrize("door", list(DOORS))
def test_no_door_is_open_to_code_without_a_name(door: str, account: Any, rows: Any) -> None:
    before = account.get_state(CONFIG).config

    with pytest.raises(Refusal):
        DOORS[door](account)

    assert before == account.get_state(CONFIG).config
    assert "door.refused" in [row.kind for row in rows()]


@pytest.mark.parametrize("which", COPIES)
@pytest.mark.parametrize("door", ["update_state", "Command update", "Command goto"])
def test_a_copy_of_a_governed_graph_has_the_same_doors(which: str, door: str, account: Any) -> None:
    """A server replaces the checkpointer and copies the graph for every request."""
    with pytest.raises(Refusal):
        DOORS[door](copies(account)[which])

    assert 10 == account.get_state(CONFIG).values["balance"]


def test_a_copy_on_another_saver_is_governed_too(sidecar: Sidecar, account: Any, till: Any, rows: Any) -> None:
    copy = account.copy(update={"checkpointer": InMemorySaver()})
    copy.invoke({"out": ""}, {"configurable": {"thread_id": "elsewhere"}})

    assert 2 == sum(row.kind == "node.begun" and row.session == "elsewhere" for row in rows())


def test_a_saver_in_the_config_is_no_way_around_the_nodes(account: Any, rows: Any) -> None:
    config = {"configurable": {"thread_id": "elsewhere", "__pregel_checkpointer": InMemorySaver()}}
    account.invoke({"out": ""}, config)

    assert 2 == sum(row.kind == "node.begun" and row.session == "elsewhere" for row in rows())


def test_the_newest_checkpoint_by_its_id_is_no_rewind(account: Any) -> None:
    newest = account.get_state(CONFIG).config

    account.invoke(None, newest)


@pytest.mark.parametrize("door", [d for d in DOORS if d != "Command resume and update"])
def test_a_named_person_passes_and_is_on_record(door: str, account: Any, rows: Any) -> None:
    with person("alice", reason="a correction"):
        DOORS[door](account)

    assert {"alice"} == {row.actor for row in rows() if row.kind == "door.used"}


def test_open_doors_are_still_on_record(sidecar: Sidecar, one: Any, rows: Any) -> None:
    graph = govern(
        one(lambda s: {}, Account, checkpointer=InMemorySaver()),
        contracts={"n": Contract()},
        sidecar=sidecar,
        doors="open",
    )
    graph.update_state(CONFIG, {"balance": 1})

    assert ["door.used"] == [row.kind for row in rows()]


# ---- from inside a node ------------------------------------------------------------------------------------------

INSIDE: dict[str, Callable[[Any], Any]] = {
    **{k: v for k, v in DOORS.items() if not any(w in k for w in ("async", "aupdate", "abulk", "rewind with_config"))},
    "resume": lambda g: g.invoke(Command(resume={"card": "x", "decision": "approve", "by": "alice"}), CONFIG),
    "operator": lambda g: person("alice", reason="me").__enter__(),
    "govern again": lambda g: govern(g, contracts={"*": Contract.permissive()}),
    "govern anew": lambda g: govern(g.builder.compile()),
}


@pytest.mark.parametrize("door", list(INSIDE))
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_code_of_a_node_opens_no_door_of_a_governed_graph(
    mode: str, door: str, sidecar: Sidecar, account: Any, one: Any
) -> None:
    """Whether the node that tries it is enforced itself or only observed: the graph it reaches for counts."""

    def node(state: Any) -> Any:
        INSIDE[door](account)
        return {"out": "x"}

    contracts = {"*": Contract()} if mode == "enforce" else None
    outer = govern(one(node, Account), contracts=contracts, sidecar=sidecar)
    before = account.get_state(CONFIG).config

    if mode == "enforce" or door not in ("govern anew",):
        with pytest.raises(GovernanceError):
            outer.invoke({"out": ""})

    assert before == account.get_state(CONFIG).config


def test_code_of_a_node_does_not_change_the_state_of_its_own_run(sidecar: Sidecar, line: Any) -> None:
    made: list[Any] = []

    def node(state: Any) -> Any:
        made[0].update_state(CONFIG, {"balance": 1000})

    graph = line(Account, {"checkpointer": InMemorySaver()}, n=node)
    made.append(govern(graph, contracts={"n": Contract()}, sidecar=sidecar))

    with pytest.raises(DoorClosed):
        graph.invoke({"out": ""}, CONFIG)

    assert "balance" not in graph.get_state(CONFIG).values


def test_a_node_inside_an_operators_block_is_no_operator(sidecar: Sidecar, account: Any, one: Any) -> None:
    graph = govern(
        one(lambda s: account.update_state(CONFIG, {"balance": 1}), Account),
        contracts={"*": Contract()},
        sidecar=sidecar,
    )

    with person("alice", reason="a correction"), pytest.raises(DoorClosed):
        graph.invoke({"out": ""})


# ---- caches ------------------------------------------------------------------------------------------------------


def cached(state: Any = Account) -> Any:
    builder = StateGraph(state)
    builder.add_node("n", lambda s: {"out": "x"}, cache_policy=CachePolicy())
    builder.add_edge(START, "n")
    return builder.compile(cache=InMemoryCache())


def test_a_cached_node_is_refused_before_it_runs(sidecar: Sidecar) -> None:
    """A hit runs no node, so no contract is asked."""
    with pytest.raises(ContractError, match="cache"):
        govern(cached(), contracts={"n": Contract()}, sidecar=sidecar)


def test_a_cached_node_of_a_graph_found_at_run_time_is_refused(sidecar: Sidecar, one: Any) -> None:
    graph = govern(one(lambda s: cached().invoke({"out": ""}), Account), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(DoorClosed, match="cached"):
        graph.invoke({"out": ""})


def test_a_cache_policy_added_after_govern_is_refused(sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": "x"}, Account, cache=InMemoryCache()), contracts={"*": Contract()}, sidecar=sidecar
    )
    graph.nodes["n"].cache_policy = CachePolicy()

    with pytest.raises(Refusal):
        for _ in range(2):
            graph.invoke({"out": ""})


def test_a_cached_task_is_refused(sidecar: Sidecar) -> None:
    @task(cache_policy=CachePolicy())
    def work(amount: int) -> int:
        return amount

    @entrypoint(cache=InMemoryCache())
    def flow(amount: int) -> int:
        return work(amount).result()

    graph = govern(flow, contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(DoorClosed, match="cached"):
        graph.invoke(1)
