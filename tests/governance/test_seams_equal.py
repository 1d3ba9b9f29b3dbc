"""A governed graph gives what the bare one gives: every shape of node, every way to run it, every stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from governance import Contract, Sidecar, govern
from tests.governance.shapes import GRAPHS, SYNC, given, of_shape, plain, put, steady

MODES = ["values", "updates", "messages", "custom", "debug", "tasks", "checkpoints"]


@pytest.fixture(params=["observe", "enforce", "strict"])
def governed(request: pytest.FixtureRequest, sidecar: Sidecar) -> Callable[[Any], Any]:
    return lambda graph: put(graph, request.param, sidecar)


@pytest.mark.parametrize("name", SYNC)
def test_a_governed_run_gives_the_same_result(name: str, governed: Any) -> None:
    expected = steady(GRAPHS[name]().invoke(given(name)))

    assert expected == steady(governed(GRAPHS[name]()).invoke(given(name)))


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_governed_async_run_gives_the_same_result(name: str, governed: Any) -> None:
    expected = steady(asyncio.run(GRAPHS[name]().ainvoke(given(name))))

    assert expected == steady(asyncio.run(governed(GRAPHS[name]()).ainvoke(given(name))))


def stream(graph: Any, name: str, **options: Any) -> list[str]:
    graph.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}
    return [steady(piece) for piece in graph.stream(given(name), config, **options)]


async def astream(graph: Any, name: str, **options: Any) -> list[str]:
    graph.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}
    return [steady(piece) async for piece in graph.astream(given(name), config, **options)]


def in_order(name: str, pieces: list[str]) -> list[str]:
    return sorted(pieces) if name == "fan-out" else pieces  # siblings end in any order


@pytest.mark.parametrize("name", SYNC)
def test_all_stream_modes_at_once_give_the_same_pieces(name: str, sidecar: Sidecar) -> None:
    expected = in_order(name, stream(GRAPHS[name](), name, stream_mode=MODES, subgraphs=True))
    graph = govern(GRAPHS[name](), contracts={"*": Contract(tools=["look"])}, sidecar=sidecar)

    assert expected == in_order(name, stream(graph, name, stream_mode=MODES, subgraphs=True))


@pytest.mark.parametrize("name", ["agent", "nested", "talkative"])
@pytest.mark.parametrize("mode", MODES)
def test_every_stream_mode_gives_the_same_pieces(name: str, mode: str, sidecar: Sidecar) -> None:
    expected = in_order(name, stream(GRAPHS[name](), name, stream_mode=mode))
    graph = govern(GRAPHS[name](), contracts={"*": Contract(tools=["look"])}, sidecar=sidecar)

    assert expected == in_order(name, stream(graph, name, stream_mode=mode))


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_all_stream_modes_at_once_give_the_same_pieces_in_async_code(name: str, sidecar: Sidecar) -> None:
    expected = in_order(name, asyncio.run(astream(GRAPHS[name](), name, stream_mode=MODES, subgraphs=True)))
    graph = govern(GRAPHS[name](), contracts={"*": Contract(tools=["look"])}, sidecar=sidecar)

    assert expected == in_order(name, asyncio.run(astream(graph, name, stream_mode=MODES, subgraphs=True)))


async def events(graph: Any, name: str) -> list[str]:
    wanted = ("event", "name", "tags", "data")
    found = [e async for e in graph.astream_events(given(name), version="v2")]
    return [steady([event[key] for key in wanted]) for event in found]


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"generator"}))
def test_event_streams_give_the_same_events(name: str, sidecar: Sidecar) -> None:
    """Callback runs of ours would show in every tracer; there are none."""
    expected = in_order(name, asyncio.run(events(GRAPHS[name](), name)))
    graph = govern(GRAPHS[name](), contracts={"*": Contract(tools=["look"])}, sidecar=sidecar)

    assert expected == in_order(name, asyncio.run(events(graph, name)))


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_governed_graph_draws_the_same_picture_and_has_the_same_schemas(name: str, governed: Any) -> None:
    bare, graph = GRAPHS[name](), governed(GRAPHS[name]())

    assert bare.get_graph(xray=True).draw_mermaid() == graph.get_graph(xray=True).draw_mermaid()
    assert bare.get_input_jsonschema() == graph.get_input_jsonschema()


@pytest.mark.parametrize("how", ["copy", "with_config", "twice"])
def test_a_copy_of_a_governed_graph_is_governed(how: str, sidecar: Sidecar, rows: Any) -> None:
    graph = govern(of_shape(plain), contracts={"*": Contract()}, sidecar=sidecar)
    copy = {
        "copy": lambda: graph.copy({"name": "copy"}),
        "with_config": lambda: graph.with_config({"tags": ["x"]}),
        "twice": lambda: graph.copy().copy(),
    }[how]()

    assert "plain" == copy.invoke({"out": ""})["out"]
    assert ["n", "after"] == [row.actor for row in rows("node.begun")]
