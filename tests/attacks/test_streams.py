"""Every way of running and streaming a graph goes through the same boundary, and shows nothing a gate has not seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.config import get_stream_writer

from governance import Contract, Sidecar, govern
from governance.errors import AuthorityRefused, Refusal
from governance.gates import custom
from governance.testing.models import ScriptedChatModel

MODES = ["values", "updates", "messages", "custom", "tasks", "debug", "checkpoints"]


async def drained(pieces: Any) -> Any:
    if asyncio.iscoroutine(pieces):
        pieces = await pieces
    return [piece async for piece in pieces]


RUNS: dict[str, Callable[[Any, Any], Any]] = {
    "invoke": lambda g, s: g.invoke(s),
    "invoke v2": lambda g, s: g.invoke(s, version="v2"),
    "invoke updates": lambda g, s: g.invoke(s, stream_mode="updates"),
    "batch": lambda g, s: g.batch([s]),
    "batch as completed": lambda g, s: list(g.batch_as_completed([s])),
    "transform": lambda g, s: list(g.transform(iter([s]))),
    "piped": lambda g, s: (g | (lambda x: x)).invoke(s),
    "map": lambda g, s: g.map().invoke([s]),
    "events v3": lambda g, s: list(g.stream_events(s, version="v3")),
    "all modes": lambda g, s: list(g.stream(s, stream_mode=MODES[:-1], subgraphs=True)),
    "stream v2": lambda g, s: list(g.stream(s, version="v2")),
    "ainvoke": lambda g, s: asyncio.run(g.ainvoke(s)),
    "abatch": lambda g, s: asyncio.run(g.abatch([s])),
    "atransform": lambda g, s: asyncio.run(drained(g.atransform(given(s)))),
    "aevents v1": lambda g, s: asyncio.run(drained(g.astream_events(s, version="v1"))),
    "aevents v2": lambda g, s: asyncio.run(drained(g.astream_events(s, version="v2"))),
    "aevents v3": lambda g, s: asyncio.run(drained(g.astream_events(s, version="v3"))),
    "alog": lambda g, s: asyncio.run(drained(g.astream_log(s))),
    **{f"stream {mode}": (lambda g, s, mode=mode: list(g.stream(s, stream_mode=mode))) for mode in MODES},
    **{
        f"astream {mode}": (lambda g, s, mode=mode: asyncio.run(drained(g.astream(s, stream_mode=mode))))
        for mode in MODES
    },
}


async def given(state: Any) -> Any:
    yield state


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("run", list(RUNS))
def test_no_way_of_running_a_graph_goes_around_its_nodes(
    run: str, sidecar: Sidecar, till: Any, one: Any, rows: Any
) -> None:
    graph = govern(one(lambda s: {"out": till.pay.invoke({"amount": 1})}), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        RUNS[run](graph, {"out": ""})

    assert [] == till.done
    assert ["node.begun", "tool.refused", "node.refused"] == [row.kind for row in rows()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("run", list(RUNS))
def test_every_way_of_running_a_graph_is_on_record_once(
    run: str, sidecar: Sidecar, till: Any, one: Any, rows: Any
) -> None:
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": 1})}),
        contracts={"n": Contract(tools=["pay"])},
        sidecar=sidecar,
    )

    RUNS[run](graph, {"out": ""})

    assert [1] == till.ran("pay")
    assert ["node.begun", "tool.ended", "node.ended"] == [row.kind for row in rows()]


def no_secret(call: Any, update: Any) -> str | None:
    return "tells a secret" if "SECRET" in str(update) else None


def streaming(model: Any) -> Any:
    def node(state: Any) -> Any:
        return {"messages": [model.invoke("hi")]}

    return node


def test_tokens_of_a_gated_node_are_marked_or_held(sidecar: Sidecar, one: Any) -> None:
    """Tokens leave before a gate can see them: whoever shows them must be able to tell that nobody has."""
    model = ScriptedChatModel([AIMessage("SECRET card 4111"), AIMessage("I cannot say")])
    contract = Contract(gates=[custom(no_secret)], attempts=2)
    graph = govern(one(streaming(model)), contracts={"n": contract}, sidecar=sidecar)

    pieces = list(graph.stream({"messages": [("user", "q")]}, stream_mode="messages"))
    shown = [(m, meta) for m, meta in pieces if "SECRET" in str(m.content)]

    assert all("unverified" in str(meta) or "unverified" in str(m.additional_kwargs) for m, meta in shown)


def test_a_revised_answer_is_the_only_one_that_is_written(sidecar: Sidecar, one: Any) -> None:
    model = ScriptedChatModel([AIMessage("SECRET card 4111"), AIMessage("I cannot say")])
    contract = Contract(gates=[custom(no_secret)], attempts=2)
    graph = govern(one(streaming(model)), contracts={"n": contract}, sidecar=sidecar)

    updates = list(graph.stream({"messages": [("user", "q")]}, stream_mode=["updates", "values"]))

    assert "SECRET" not in str(updates)


def test_a_run_abandoned_in_the_middle_leaves_nothing_open(sidecar: Sidecar, till: Any, line: Any, rows: Any) -> None:
    graph = line(first=lambda s: {"out": "x"}, n=lambda s: {"out": till.pay.invoke({"amount": 1})})
    govern(graph, contracts={"*": Contract(tools=["pay"])}, sidecar=sidecar)

    for _ in graph.stream({"out": ""}, stream_mode="updates"):
        break

    assert [] == till.done
    assert ["node.begun", "node.ended"] == [row.kind for row in rows()]


def test_what_a_refused_node_says_by_itself_is_all_that_leaves_it(sidecar: Sidecar, till: Any, one: Any) -> None:
    """Custom stream pieces are the node's own words; its update is not among them."""

    def node(state: Any) -> Any:
        get_stream_writer()("on my way")
        till.pay.invoke({"amount": 1})
        return {"out": "done"}

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)
    seen: list[Any] = []

    with pytest.raises(Refusal):
        for piece in graph.stream({"out": ""}, stream_mode=["custom", "updates", "values"]):
            seen.append(piece)

    assert [("values", {"out": "", "log": [], "messages": []}), ("custom", "on my way")] == seen
