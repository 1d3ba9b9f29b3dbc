"""Each seam by itself: a test that fails when LangGraph or LangChain moves what the seam stands on."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph._internal._constants import CONFIG_KEY_SEND
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.pregel._read import PregelNode
from langgraph.pregel._write import ChannelWriteTupleEntry
from langgraph.types import Command, RetryPolicy, StateUpdate

from governance import Contract, Sidecar, govern, operator, seams
from governance.errors import (
    AuthorityRefused,
    ContractError,
    ContractViolation,
    DoorClosed,
    UnsupportedVersion,
)
from governance.testing.models import ScriptedChatModel

ROOT = Path(__file__).resolve().parents[2]
ALL = {"*": Contract()}


def node(state: Any) -> Any:
    return {"out": "n"}


@tool
def look(what: str) -> str:
    """Looks."""
    return f"saw {what}"


# seam 1: the node's run step


def test_the_run_step_of_a_node_is_replaced_and_what_it_is_bound_to_is_left_alone(line: Any, sidecar: Sidecar) -> None:
    """Drawing, subgraph discovery and cache identity read `.bound`; only what runs is ours."""
    graph = line(n=node)
    bound = graph.nodes["n"].bound
    govern(graph, sidecar=sidecar)

    assert seams.step_of(graph.nodes["n"]) is not None
    assert bound is graph.nodes["n"].bound


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_a_governed_node_is_on_record_once_however_its_graph_is_run(
    how: str, line: Any, sidecar: Sidecar, rows: Any
) -> None:
    graph = govern(line(n=node), contracts=ALL, sidecar=sidecar)
    given: dict[str, Any] = {"out": ""}

    async def drain() -> None:
        async for _ in graph.astream(given):
            pass

    {
        "invoke": lambda: graph.invoke(given),
        "ainvoke": lambda: asyncio.run(graph.ainvoke(given)),
        "stream": lambda: list(graph.stream(given)),
        "astream": lambda: asyncio.run(drain()),
    }[how]()

    assert ["node.begun", "node.ended"] == [row.kind for row in rows()]


# seam 2: tasks


@pytest.mark.parametrize("is_async", [False, True])
def test_a_task_runs_in_a_chain_of_its_own(is_async: bool, sidecar: Sidecar, rows: Any) -> None:
    @task
    def double(x: int) -> int:
        return x * 2

    @task
    async def adouble(x: int) -> int:
        return x * 2

    @entrypoint()
    def work(x: int) -> int:
        return double(x).result()

    @entrypoint()
    async def awork(x: int) -> int:
        return await adouble(x)

    graph = govern(awork if is_async else work, contracts={"*": Contract()}, sidecar=sidecar)

    assert 6 == (asyncio.run(graph.ainvoke(3)) if is_async else graph.invoke(3))
    expected = ["awork", "adouble"] if is_async else ["work", "double"]
    assert expected == [row.actor for row in rows("node.begun")]


# seam 3: sends


def test_a_write_past_the_return_value_is_judged(line: Any, sidecar: Sidecar) -> None:
    """LangGraph hands a node its own way to write; what goes through it is held to the contract too."""

    def sneak(state: Any, config: RunnableConfig) -> Any:
        config["configurable"][CONFIG_KEY_SEND]([("other", "x")])
        return {}

    graph = govern(line(n=RunnableLambda(sneak)), contracts={"n": Contract(writes=["out"])}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="n wrote 'other', which it does not own; its contract allows: out"):
        graph.invoke({"out": ""})


# seam 4: models and tools


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_tool_call_is_judged_by_the_contract_of_its_node(how: str, line: Any, sidecar: Sidecar) -> None:
    async def acting(state: Any) -> Any:
        return {"out": await look.ainvoke({"what": "it"})}

    def acts(state: Any) -> Any:
        return {"out": look.invoke({"what": "it"})}

    graph = govern(line(n=acts if how == "invoke" else acting), contracts=ALL, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="n may not call look; its contract allows: none"):
        graph.invoke({"out": ""}) if how == "invoke" else asyncio.run(graph.ainvoke({"out": ""}))


@pytest.mark.parametrize("how", ["invoke", "stream", "generate", "batch"])
def test_a_model_call_is_on_record_once_whatever_method_makes_it(
    how: str, line: Any, sidecar: Sidecar, rows: Any
) -> None:
    model = ScriptedChatModel(["hello there"])

    def asks(state: Any) -> Any:
        if how == "stream":
            return {"out": "".join(str(piece.content) for piece in model.stream("hi"))}
        if how == "generate":
            return {"out": model.generate([[HumanMessage("hi")]]).generations[0][0].text}
        if how == "batch":
            return {"out": str(model.batch(["hi"])[0].content)}
        return {"out": str(model.invoke("hi").content)}

    graph = govern(line(n=asks), contracts=ALL, sidecar=sidecar)

    assert "hello there" == graph.invoke({"out": ""})["out"]
    assert ["model.ended"] == [row.kind for row in rows("model")]


@pytest.mark.parametrize("how", ["ainvoke", "astream"])
def test_an_async_model_call_is_on_record_once(how: str, line: Any, sidecar: Sidecar, rows: Any) -> None:
    model = ScriptedChatModel(["hello there"])

    async def asks(state: Any) -> Any:
        if how == "astream":
            return {"out": "".join([str(piece.content) async for piece in model.astream("hi")])}
        return {"out": str((await model.ainvoke("hi")).content)}

    graph = govern(line(n=asks), contracts=ALL, sidecar=sidecar)

    assert "hello there" == asyncio.run(graph.ainvoke({"out": ""}))["out"]
    assert ["model.ended"] == [row.kind for row in rows("model")]


# seam 5: doors


def test_update_state_needs_an_operator(line: Any, sidecar: Sidecar, thread: Any, rows: Any) -> None:
    graph = govern(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=ALL, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)

    with pytest.raises(DoorClosed, match=r"update_state changes state past the contracts; do it as a named person"):
        graph.update_state(thread, {"out": "x"})
    with operator("ann", reason="typo"):
        graph.update_state(thread, {"out": "x"})

    assert "x" == graph.get_state(thread).values["out"]
    assert [("door.refused", ""), ("door.used", "ann")] == [(row.kind, row.actor) for row in rows("door")]


@pytest.mark.parametrize("how", ["update_state", "aupdate_state", "bulk_update_state", "abulk_update_state"])
def test_no_method_that_changes_state_stays_open(how: str, line: Any, sidecar: Sidecar, thread: Any) -> None:
    graph = govern(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=ALL, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    args: Any = [[StateUpdate({"out": "x"}, None)]] if "bulk" in how else {"out": "x"}

    with pytest.raises(DoorClosed):
        found = getattr(graph, how)(thread, args)
        if how.startswith("a"):
            asyncio.run(found)


@pytest.mark.parametrize("given", [Command(update={"out": "x"}), Command(goto="n"), Command(update=[("out", "x")])])
def test_a_command_as_input_needs_an_operator(given: Any, line: Any, sidecar: Sidecar, thread: Any) -> None:
    graph = govern(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=ALL, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)

    with pytest.raises(DoorClosed, match=r"Command\(update=, goto=\) as input"):
        graph.invoke(given, thread)
    with operator("ann", reason="typo"):
        graph.invoke(given, thread)


def test_a_rewind_needs_an_operator_and_the_newest_checkpoint_is_no_rewind(
    line: Any, sidecar: Sidecar, thread: Any
) -> None:
    graph = govern(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=ALL, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    history = list(graph.get_state_history(thread))
    graph.invoke(None, history[0].config)

    with pytest.raises(DoorClosed, match="a rewind to an earlier checkpoint"):
        graph.invoke(None, history[-1].config)
    with operator("ann", reason="again"):
        graph.invoke(None, history[-1].config)


def test_the_doors_of_a_copy_are_closed_too(line: Any, sidecar: Sidecar, thread: Any) -> None:
    """A server copies the graph for each request and gives it a checkpointer of its own."""
    graph = govern(line(n=node), contracts=ALL, sidecar=sidecar)
    copy = graph.copy({"checkpointer": InMemorySaver()})
    copy.invoke({"out": ""}, thread)

    with pytest.raises(DoorClosed):
        copy.update_state(thread, {"out": "x"})


def test_open_doors_let_everybody_through_and_still_record_it(
    line: Any, sidecar: Sidecar, thread: Any, rows: Any
) -> None:
    graph = line(compiled={"checkpointer": InMemorySaver()}, n=node)
    govern(graph, contracts=ALL, sidecar=sidecar, doors="open")
    graph.invoke({"out": ""}, thread)
    graph.update_state(thread, {"out": "x"})

    assert ["door.used"] == [row.kind for row in rows("door")]


def test_observe_mode_closes_no_door(line: Any, sidecar: Sidecar, thread: Any, rows: Any) -> None:
    graph = govern(line(compiled={"checkpointer": InMemorySaver()}, n=node), sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    graph.update_state(thread, {"out": "x"})

    assert "x" == graph.get_state(thread).values["out"]
    assert ["door.used"] == [row.kind for row in rows("door")]


def test_a_node_attached_after_govern_is_refused(line: Any, sidecar: Sidecar) -> None:
    graph = govern(line(n=node), contracts=ALL, sidecar=sidecar)
    graph.nodes["late"] = line(late=node).nodes["late"]

    with pytest.raises(DoorClosed, match=r"node 'late' was attached after govern\(\); govern the graph again"):
        graph.invoke({"out": ""})


# seam 6: raw connections


@pytest.fixture
def port() -> Any:
    """A port of this machine that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def connecting(port: int) -> Callable[[Any], Any]:
    def connects(state: Any) -> Any:
        socket.create_connection(("127.0.0.1", port)).close()
        return {"out": "connected"}

    return connects


def test_a_connection_the_contract_does_not_name_is_refused(line: Any, sidecar: Sidecar, port: int, rows: Any) -> None:
    graph = govern(line(n=connecting(port)), contracts=ALL, sidecar=sidecar)

    with pytest.raises(
        AuthorityRefused, match=r"n tried to reach 127\.0\.0\.1 past the tools; its contract allows: no"
    ):
        graph.invoke({"out": ""})
    assert ["127.0.0.1"] == [row.body["target"] for row in rows("connection.refused")][:1]


def test_a_connection_the_contract_names_is_made(line: Any, sidecar: Sidecar, port: int) -> None:
    contract = Contract(hosts=["127.0.0.1"])
    graph = govern(line(n=connecting(port)), contracts={"n": contract}, sidecar=sidecar)

    assert "connected" == graph.invoke({"out": ""})["out"]


def test_an_observed_node_connects_and_is_on_record(line: Any, sidecar: Sidecar, port: int, rows: Any) -> None:
    graph = govern(line(n=connecting(port)), sidecar=sidecar)
    graph.invoke({"out": ""})

    assert {"127.0.0.1"} == {row.body["target"] for row in rows("connection.seen")}


# the probe


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (PregelNode, "flat_writers"),
        (PregelNode, "node"),
        (PregelNode, "copy"),
        (ChannelWriteTupleEntry, "mapper"),
        (RetryPolicy, "retry_on"),
        (BaseTool, "run"),
        (BaseTool, "_filter_injected_args"),
        (BaseChatModel, "_generate_with_cache"),
        (BaseChatModel, "_should_stream"),
        (BaseChatModel, "_achat_model_stream_v3"),
    ],
)
def test_the_probe_names_what_is_missing(owner: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(owner, name)

    with pytest.raises(UnsupportedVersion, match=rf"lack {owner.__name__}\.{name}.*; Sidecar knows langgraph>=1\.2"):
        seams.probe()


def test_the_probe_finds_everything_in_the_versions_installed() -> None:
    seams.probe()


def test_a_node_step_that_is_no_cached_property_any_more_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PregelNode, "node", property(lambda self: None))

    with pytest.raises(UnsupportedVersion, match=r"PregelNode\.node as a cached property"):
        seams.probe()


MOVED = """
import importlib
importlib.import_module({module!r}).__dict__.pop({name!r})
from governance.errors import UnsupportedVersion
try:
    from governance import govern
    govern
except UnsupportedVersion as error:
    print("refused:", error.reason)
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [("langgraph._internal._constants", "CONFIG_KEY_CALL"), ("langgraph.pregel._retry", "_should_retry_on")],
)
def test_an_import_that_moved_is_an_unsupported_version_too(module: str, name: str) -> None:
    """The people who upgrade see what to install, not an ImportError from inside the sidecar."""
    done = subprocess.run(
        [sys.executable, "-c", MOVED.format(module=module, name=name)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.stdout.startswith("refused:"), done.stderr[-500:]
    assert name in done.stdout


# all or nothing


@pytest.mark.parametrize("wrong", [None, "graph", object()])
def test_only_a_compiled_graph_can_be_governed(wrong: Any, sidecar: Sidecar) -> None:
    with pytest.raises(ContractError, match=r"govern\(\) takes a compiled graph .* not "):
        govern(wrong, sidecar=sidecar)


def test_a_refused_govern_leaves_the_graph_as_it_was(line: Any, sidecar: Sidecar, rows: Any) -> None:
    graph = line(a=node, b=node)
    with pytest.raises(ContractError, match=r"node 'b' has no contract; give it one, a pattern, or Contract.observe"):
        govern(graph, contracts={"a": Contract()}, sidecar=sidecar)

    assert [None, None] == [seams.step_of(graph.nodes[n]) for n in "ab"]
    assert "n" == graph.invoke({"out": ""})["out"]


def test_governing_again_replaces_what_was_bound_before(line: Any, sidecar: Sidecar) -> None:
    graph = govern(line(n=node), contracts={"n": Contract(writes=[])}, sidecar=sidecar)
    govern(graph, contracts={"n": Contract(writes=["out"])}, sidecar=sidecar)

    assert "n" == graph.invoke({"out": ""})["out"]
