"""What a node may write, and the words with which it is told: what was expected, what came, what is allowed."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Overwrite, Send

from governance import Contract, Sidecar, govern
from governance.errors import Abandoned, ContractViolation, DeadlineExceeded


class Little(TypedDict, total=False):
    out: str


def returning(update: Any) -> Any:
    return lambda state: update


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"other": "x"}, "n wrote 'other', which it does not own; its contract allows: log, out"),
        ({"typo": "x"}, "n wrote the key 'typo', which the state does not have; it has: "),
        (Command(update={"other": "x"}), "n wrote 'other', which it does not own"),
        ([{"out": "x"}, Command(update={"other": "x"})], "n wrote 'other', which it does not own"),
        ({"out": 3}, "n wrote out = 3: Input should be a valid string"),
        ({"log": Overwrite(["x"])}, "n wrote Overwrite to 'log', which throws away what other nodes wrote"),
        ({"log": {"__overwrite__": ["x"]}}, "n wrote Overwrite to 'log'"),
    ],
)
def test_an_update_outside_the_contract_is_refused(update: Any, words: str, line: Any, sidecar: Sidecar) -> None:
    graph = line(n=returning(update))
    contracts = {"n": Contract(writes=["out", "log"])}
    govern(graph, contracts=contracts, sidecar=sidecar)

    with pytest.raises(ContractViolation, match=words):
        graph.invoke({"out": ""})


@pytest.mark.parametrize(
    "update", [Command(goto="hidden"), Command(goto=Send("hidden", {})), [Command(goto=["hidden"])]]
)
def test_control_sent_where_no_edge_leads_is_refused(update: Any, sidecar: Sidecar) -> None:
    graph = govern(_apart(returning(update)), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="n sent control to 'hidden'; the graph and its contract allow: "):
        graph.invoke({"out": ""})


def _apart(node: Any) -> Any:
    """A graph with a node that no edge leads to."""
    builder = StateGraph(Little)
    builder.add_node("n", node)
    builder.add_node("hidden", returning({}))
    builder.add_edge(START, "n")
    return builder.compile()


@pytest.mark.parametrize(
    "update",
    [None, {}, {"out": "x"}, {"log": ["x"]}, Command(update={"out": "x"}), [{"out": "x"}, {"log": ["y"]}], Command()],
)
def test_an_update_inside_the_contract_passes(update: Any, line: Any, sidecar: Sidecar) -> None:
    contracts = {"n": Contract(writes=["out", "log"])}
    if isinstance(update, list):
        update = [*update[:1], Command(update=update[1])]

    govern(line(n=returning(update)), contracts=contracts, sidecar=sidecar).invoke({"out": ""})


def test_a_refused_update_leaves_the_state_as_it_was(line: Any, sidecar: Sidecar, thread: Any) -> None:
    graph = line(compiled={"checkpointer": InMemorySaver()}, n=returning({"out": "x", "other": "x"}))
    govern(graph, contracts={"n": Contract(writes=["out"])}, sidecar=sidecar)
    with pytest.raises(ContractViolation):
        graph.invoke({"out": "before"}, thread)

    assert {"out": "before"} == {k: v for k, v in graph.get_state(thread).values.items() if k == "out"}


@pytest.mark.parametrize(
    ("waiver", "update"),
    [("unknown_keys", {"typo": 1}), ("types", {"out": 3}), ("overwrite", {"log": Overwrite(["x"])})],
)
def test_single_checks_can_be_waived(waiver: Any, update: Any, line: Any, sidecar: Sidecar) -> None:
    contracts = {"n": Contract(waives=[waiver])}

    govern(line(n=returning(update)), contracts=contracts, sidecar=sidecar).invoke({"out": ""})


def test_a_contract_may_add_a_route_to_those_that_are_drawn(sidecar: Sidecar) -> None:
    graph = _apart(returning(Command(goto="hidden")))
    contracts = {"n": Contract(routes=["hidden"]), "hidden": Contract()}

    govern(graph, contracts=contracts, sidecar=sidecar).invoke({"out": ""})


def test_the_end_is_a_route_like_any_other(line: Any, sidecar: Sidecar) -> None:
    govern(
        line(n=(returning(Command(goto=END)), {"destinations": (END,)})), contracts={"n": Contract()}, sidecar=sidecar
    )


def fussy(needed: str) -> tuple[Any, list[Any]]:
    """A node that writes a number first, and what it was told to do after that."""
    seen: list[Any] = []

    def node(state: Any) -> Any:
        seen.append([m.content for m in state.get("messages", [])] + [state.get("other")])
        return {"out": needed if len(seen) > 1 else 3}

    return node, seen


def test_a_repair_tells_the_node_what_was_wrong_as_a_message(line: Any, sidecar: Sidecar, rows: Any) -> None:
    node, seen = fussy("good")
    graph = govern(line(n=node), contracts={"n": Contract(attempts=2)}, sidecar=sidecar)
    found = graph.invoke({"messages": [HumanMessage("go")]})

    assert "good" == found["out"]
    assert ["go"] == [m.content for m in found["messages"]]
    assert [["go", None], ["go", "n wrote out = 3: Input should be a valid string", None]] == seen
    assert ["node.begun", "node.revised", "node.begun", "node.ended"] == [row.kind for row in rows("node")]


def test_a_repair_without_messages_puts_the_words_where_the_contract_says(line: Any, sidecar: Sidecar) -> None:
    node, seen = fussy("good")
    contract = Contract(attempts=2, feedback="other")
    govern(line(n=node), contracts={"n": contract}, sidecar=sidecar).invoke({"out": "", "other": ""})

    assert ["", "n wrote out = 3: Input should be a valid string"] == [s[-1] for s in seen]


def test_attempts_are_an_end(line: Any, sidecar: Sidecar) -> None:
    runs: list[int] = []
    graph = line(n=lambda state: runs.append(1) or {"out": 3})
    govern(graph, contracts={"n": Contract(attempts=3)}, sidecar=sidecar)

    with pytest.raises(ContractViolation):
        graph.invoke({"out": ""})
    assert 3 == len(runs)


def test_one_attempt_is_all_there_is_unless_the_contract_says_more(line: Any, sidecar: Sidecar) -> None:
    runs: list[int] = []
    graph = line(n=lambda state: runs.append(1) or {"out": 3})
    with pytest.raises(ContractViolation):
        govern(graph, contracts={"n": Contract()}, sidecar=sidecar).invoke({"out": ""})

    assert 1 == len(runs)


def test_a_sync_node_past_its_time_is_abandoned_and_can_start_no_effect(line: Any, sidecar: Sidecar, rows: Any) -> None:
    paid: list[int] = []
    free, ended = threading.Event(), threading.Event()
    errors: list[Exception] = []

    @tool
    def pay(amount: int) -> str:
        """Pays."""
        paid.append(amount)
        return "paid"

    def slow(state: Any) -> Any:
        free.wait(10)
        try:
            pay.invoke({"amount": 5})
        except Exception as error:
            errors.append(error)
        ended.set()
        return {"out": "late"}

    contract = Contract(timeout=0.1, tools=["pay"])
    graph = govern(line(n=slow), contracts={"n": contract}, sidecar=sidecar)
    with pytest.raises(DeadlineExceeded, match=r"n took longer than 0.1 s"):
        graph.invoke({"out": ""})
    free.set()

    assert ended.wait(10)
    assert [] == paid
    assert isinstance(errors[0], (DeadlineExceeded, Abandoned))


def test_an_async_node_past_its_time_is_cancelled(line: Any, sidecar: Sidecar) -> None:
    seen: list[str] = []

    async def slow(state: Any) -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def run() -> None:
        graph = govern(line(n=slow), contracts={"n": Contract(timeout=0.1)}, sidecar=sidecar)
        with pytest.raises(DeadlineExceeded, match=r"n took longer than 0.1 s"):
            await graph.ainvoke({"out": ""})
        await asyncio.sleep(0.01)

    asyncio.run(run())

    assert ["cancelled"] == seen


def test_a_node_within_its_time_is_as_it_was(line: Any, sidecar: Sidecar) -> None:
    graph = govern(line(n=returning({"out": "x"})), contracts={"n": Contract(timeout=30)}, sidecar=sidecar)

    assert "x" == graph.invoke({"out": ""})["out"]
