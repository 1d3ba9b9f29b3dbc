"""A governed graph gives what the bare one gives: every shape of node, every way to run it, every stream."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from governance import Contract, Sidecar, Tool, govern
from governance.testing.models import ScriptedChatModel

VOLATILE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b|\blc_run-+"
    r"|\d{4}-\d\d-\d\dT[\d:.+]+|0\.\d{12,}|00000\d+\.[0-9.]+|(?<= at )0x[0-9a-f]+|<object object[^>]*>"
)
MODES = ["values", "updates", "messages", "custom", "debug", "tasks", "checkpoints"]
Build = Callable[[], Any]


class State(TypedDict, total=False):
    out: str
    count: int
    log: Annotated[list[str], lambda a, b: a + b]
    messages: Annotated[list[AnyMessage], add_messages]


class Modelled(BaseModel):
    out: str = ""
    log: Annotated[list[str], lambda a, b: a + b] = []


@dataclass
class Classed:
    out: str = ""
    log: Annotated[list[str], lambda a, b: a + b] = field(default_factory=list)


def steady(value: Any) -> str:
    """A value as text, without ids and times, which no two runs share."""
    return VOLATILE.sub("#", repr(value))


def plain(state: Any) -> Any:
    return {"out": "plain", "log": ["plain"]}


async def coroutine(state: Any) -> Any:
    return {"out": "coroutine", "log": ["coroutine"]}


def generator(state: Any) -> Iterator[Any]:
    yield {"out": "one"}
    yield {"out": "two", "log": ["generator"]}


async def async_generator(state: Any) -> Any:
    yield {"out": "one"}
    yield {"out": "two", "log": ["async generator"]}


def with_config(state: Any, config: RunnableConfig) -> Any:
    return {"out": config["metadata"]["langgraph_node"]}


def talkative(state: Any) -> Any:
    get_stream_writer()({"half": "way"})
    answer = ScriptedChatModel(["some words to stream"]).invoke([HumanMessage("go on", id="h")])
    return {"messages": [AIMessage(answer.content, id="a")], "out": answer.content}


class Callable_:
    def __call__(self, state: Any) -> Any:
        return {"out": "object"}

    def method(self, state: Any) -> Any:
        return {"out": "method"}


def partial_(extra: str, state: Any) -> Any:
    return {"out": extra}


SHAPES: dict[str, Any] = {
    "plain": plain,
    "coroutine": coroutine,
    "generator": generator,
    "async generator": async_generator,
    "config": with_config,
    "talkative": talkative,
    "object": Callable_(),
    "method": Callable_().method,
    "partial": functools.partial(partial_, "partial"),
    "lcel": RunnableLambda(lambda s: {**s, "out": "lcel"}) | RunnableLambda(lambda s: {"out": s["out"] + "!"}),
    "runnable": RunnableLambda(plain),
    "nothing": lambda state: None,
    "command": lambda state: Command(update={"out": "command"}, goto=END),
    "updates": lambda state: [{"log": ["a"]}, Command(update={"log": ["b"]})],
}
ASYNC_ONLY = {"coroutine", "async generator"}


def of_shape(node: Any, state: Any = State) -> Any:
    builder = StateGraph(state)
    builder.add_node("n", node, destinations=(END,))
    builder.add_node("after", lambda state: {"log": ["after"]})
    builder.add_edge(START, "n")
    builder.add_edge("n", "after")
    return builder.compile()


def fanned_out() -> Any:
    builder = StateGraph(State)
    builder.add_node("plan", lambda state: {"log": ["plan"]})
    builder.add_node("work", lambda state: {"log": [f"work {state['count']}"]})
    builder.add_conditional_edges("plan", lambda state: [Send("work", {"count": n}) for n in range(3)], ["work"])
    builder.add_edge(START, "plan")
    return builder.compile()


def nested() -> Any:
    inner = StateGraph(State)
    inner.add_node("leaf", plain)
    inner.add_edge(START, "leaf")
    outer = StateGraph(State)
    outer.add_node("sub", inner.compile())
    outer.add_node("calls", lambda state: {"log": inner.compile().invoke({"out": ""})["log"]})
    outer.add_edge(START, "sub")
    outer.add_edge("sub", "calls")
    return outer.compile()


def retried() -> Any:
    failed: list[int] = []

    def flaky(state: Any) -> Any:
        if len(failed) < 2:
            failed.append(1)
            raise ConnectionError("weather")
        return {"out": "at last"}

    builder = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ConnectionError)
    builder.add_node("n", flaky, retry_policy=policy)
    builder.add_edge(START, "n")
    return builder.compile()


def handled() -> Any:
    def fails(state: Any) -> Any:
        raise ValueError("handled")

    def handler(state: Any) -> Any:
        return {"out": "handled"}

    builder = StateGraph(State)
    builder.add_node("n", fails, error_handler=handler)
    builder.add_edge(START, "n")
    return builder.compile()


def commanded() -> Any:
    builder = StateGraph(State)
    builder.add_node("n", lambda state: Command(update={"log": ["n"]}, goto="b"), destinations=("a", "b"))
    builder.add_node("a", lambda state: {"log": ["a"]})
    builder.add_node("b", lambda state: {"log": ["b"]})
    builder.add_edge(START, "n")
    return builder.compile()


def looped() -> Any:
    builder = StateGraph(State)
    builder.add_node("n", lambda state: {"count": state.get("count", 0) + 1})
    builder.add_conditional_edges("n", lambda state: "n" if state["count"] < 3 else END)
    builder.add_edge(START, "n")
    return builder.compile()


@tool
def look(what: str) -> str:
    """Looks."""
    return f"saw {what}"


def calling(name: str, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": "c1", "type": "tool_call"}], id="call")


def agent() -> Any:
    return create_agent(ScriptedChatModel([calling("look", what="it"), AIMessage("done", id="end")]), [look])


def tools() -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [calling("look", what="it")]})
    builder.add_node("tools", ToolNode([look]))
    builder.add_edge(START, "model")
    builder.add_edge("model", "tools")
    return builder.compile()


GRAPHS: dict[str, Build] = {
    **{name: functools.partial(of_shape, node) for name, node in SHAPES.items()},
    "pydantic": functools.partial(of_shape, plain, Modelled),
    "dataclass": functools.partial(of_shape, plain, Classed),
    "fan-out": fanned_out,
    "nested": nested,
    "retried": retried,
    "handled": handled,
    "commanded": commanded,
    "looped": looped,
    "agent": agent,
    "tool node": tools,
}
SYNC = sorted(set(GRAPHS) - ASYNC_ONLY)


@pytest.fixture(params=["observe", "enforce", "strict"])
def governed(request: pytest.FixtureRequest, sidecar: Sidecar) -> Callable[[Any], Any]:
    def put(graph: Any) -> Any:
        contracts = None if request.param == "observe" else {"*": Contract(tools=["look"])}
        return govern(graph, contracts=contracts, mode=request.param, sidecar=sidecar)

    return put


def given(name: str) -> dict[str, Any]:
    return {"messages": [HumanMessage("hi", id="hi")]} if name in ("agent", "tool node") else {"out": "", "log": []}


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


def pausing() -> Any:
    def asks(state: Any) -> Any:
        return {"log": [interrupt("first"), interrupt("second")]}

    builder = StateGraph(State)
    builder.add_node("n", asks)
    builder.add_edge(START, "n")
    return builder.compile(checkpointer=InMemorySaver())


def test_interrupts_ask_in_order_and_resume_where_they_were(governed: Any, thread: Any) -> None:
    graph = governed(pausing())

    assert "first" == graph.invoke({"out": ""}, thread)["__interrupt__"][0].value
    assert "second" == graph.invoke(Command(resume="a"), thread)["__interrupt__"][0].value
    assert ["a", "b"] == graph.invoke(Command(resume="b"), thread)["log"]


def test_a_static_interrupt_stops_and_goes_on(governed: Any, thread: Any) -> None:
    graph = governed(of_shape(plain).copy({"checkpointer": InMemorySaver(), "interrupt_before_nodes": ["after"]}))
    graph.invoke({"out": "", "log": []}, thread)

    assert ("after",) == graph.get_state(thread).next
    assert ["plain", "after"] == graph.invoke(None, thread)["log"]


def test_a_node_that_fails_raises_its_own_error(governed: Any, line: Any) -> None:
    def fails(state: Any) -> Any:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        governed(line(n=fails)).invoke({"out": ""})


@pytest.mark.parametrize("style", ["sync", "async"])
def test_the_functional_api_gives_the_same_result(style: str, governed: Any) -> None:
    @task
    def double(x: int) -> int:
        return x * 2

    @entrypoint()
    def work(xs: list[int]) -> list[int]:
        return [future.result() for future in [double(x) for x in xs]]

    @entrypoint()
    async def awork(xs: list[int]) -> list[int]:
        return list(await asyncio.gather(*[double(x) for x in xs]))

    graph = governed(work if style == "sync" else awork)

    assert [2, 4, 6] == (graph.invoke([1, 2, 3]) if style == "sync" else asyncio.run(graph.ainvoke([1, 2, 3])))


def test_an_entrypoint_remembers_and_resumes(governed: Any, thread: Any) -> None:
    @task
    def ask(x: int) -> int:
        return x + interrupt("how much?")

    @entrypoint(checkpointer=InMemorySaver())
    def work(x: int, *, previous: Any = None) -> Any:
        return entrypoint.final(value=ask(x).result() + (previous or 0), save=x)

    graph = governed(work)
    first = graph.invoke(1, thread)["__interrupt__"][0].value

    assert "how much?" == first
    assert 11 == graph.invoke(Command(resume=10), thread)


def test_a_native_timeout_of_an_async_node_still_ends_it(governed: Any) -> None:
    from langgraph.errors import NodeTimeoutError

    async def slow(state: Any) -> Any:
        await asyncio.sleep(30)

    builder = StateGraph(State)
    builder.add_node("n", slow, timeout=0.05)
    builder.add_edge(START, "n")

    with pytest.raises(NodeTimeoutError):
        asyncio.run(governed(builder.compile()).ainvoke({"out": ""}))


def test_a_cancelled_run_cancels_its_node(governed: Any) -> None:
    seen: list[str] = []

    async def slow(state: Any) -> Any:
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def work() -> None:
        run = asyncio.create_task(governed(of_shape(slow)).ainvoke({"out": ""}))
        await started.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    started = asyncio.Event()
    asyncio.run(work())

    assert ["cancelled"] == seen


def test_a_graph_that_is_not_governed_stays_as_it_was(sidecar: Sidecar, rows: Any) -> None:
    """The patches are in this process, and do nothing outside a governed call."""
    govern(of_shape(plain), contracts={"*": Contract()}, sidecar=sidecar)
    bare = agent()
    answer = bare.invoke(given("agent"))["messages"][-1].content

    assert "done" == answer
    assert [] == rows()
    assert not (sidecar.ledger.path.parent / "control.db").exists()


def test_a_tool_outside_any_graph_is_nobodys_business(sidecar: Sidecar, rows: Any) -> None:
    govern(of_shape(plain), contracts={"*": Contract()}, sidecar=sidecar)

    assert "saw it" == look.invoke({"what": "it"})
    assert [] == rows()


def test_an_agent_may_be_held_to_single_arguments(sidecar: Sidecar) -> None:
    from governance import one_of
    from governance.errors import AuthorityRefused

    rule = Tool("look", where={"what": one_of("that")})
    graph = govern(agent(), contracts={"*": Contract(tools=[rule])}, sidecar=sidecar)

    with pytest.raises(
        AuthorityRefused, match=r"tools may not call look like this: what must be one of 'that', not 'it'"
    ):
        graph.invoke(given("agent"))
