"""Every shape a node can have, started every way LangGraph can start it: the contract holds."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnablePassthrough
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy, Send
from pydantic import BaseModel

from governance import Contract, Sidecar, govern
from governance.errors import AuthorityRefused, ContractError, ContractViolation, DoorClosed, Refusal


class Typed(TypedDict, total=False):
    out: str
    secret: str


class Modelled(BaseModel):
    out: str = ""
    secret: str = ""
    messages: Annotated[list[AnyMessage], add_messages] = []


@dataclass
class Classed:
    out: str = ""
    secret: str = ""


def shapes(pay: Any) -> dict[str, Any]:
    """Nodes of every kind, each of which tries to pay."""

    def plain(state: Any) -> Any:
        return {"out": pay.invoke({"amount": 1})}

    def with_config(state: Any, config: RunnableConfig) -> Any:
        return {"out": pay.invoke({"amount": 1}, config)}

    def with_runtime(state: Any, runtime: Runtime[Any]) -> Any:
        return {"out": pay.invoke({"amount": 1})}

    async def coroutine(state: Any) -> Any:
        return {"out": await pay.ainvoke({"amount": 1})}

    def generator(state: Any) -> Any:
        yield {"out": pay.invoke({"amount": 1})}

    async def async_generator(state: Any) -> Any:
        yield {"out": await pay.ainvoke({"amount": 1})}

    class Callable_:
        def __call__(self, state: Any) -> Any:
            return plain(state)

        def method(self, state: Any) -> Any:
            return plain(state)

    def partial(extra: int, state: Any) -> Any:
        return plain(state)

    def anything(state: Any) -> Any:
        return {}

    return {
        "plain": plain,
        "config": with_config,
        "runtime": with_runtime,
        "lambda": lambda state: {"out": pay.invoke({"amount": 1})},
        "partial": functools.partial(partial, 1),
        "object": Callable_(),
        "method": Callable_().method,
        "runnable": RunnableLambda(plain),
        "sequence": RunnablePassthrough() | RunnableLambda(plain),
        "sequence end": RunnableLambda(anything) | RunnableLambda(plain),
        "parallel": RunnableLambda(anything) | {"out": lambda state: pay.invoke({"amount": 1})},
        "retried": RunnableLambda(plain).with_retry(stop_after_attempt=3, wait_exponential_jitter=False),
        "fallback": RunnableLambda(plain).with_fallbacks([RunnableLambda(lambda state: {"out": "fine"})]),
        "generator": generator,
        "coroutine": coroutine,
        "async generator": async_generator,
        "async runnable": RunnableLambda(coroutine),
    }


def sync_shapes(pay: Any) -> dict[str, Any]:
    return {k: v for k, v in shapes(pay).items() if "async" not in k and k != "coroutine"}


@pytest.mark.parametrize("shape", list(shapes(None)))
def test_a_node_of_any_shape_pays_nothing_that_its_contract_does_not_name(
    shape: str, sidecar: Sidecar, till: Any, one: Callable[..., Any], rows: Any
) -> None:
    """Async callables, generators and LCEL sequences are inside the boundary as plain functions are."""
    graph = govern(one(shapes(till.pay)[shape]), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done
    assert ["node.begun", "tool.refused", "node.refused"] == list(dict.fromkeys(row.kind for row in rows()))


@pytest.mark.parametrize("shape", list(sync_shapes(None)))
def test_a_sync_node_pays_nothing_either_when_the_graph_is_invoked(
    shape: str, sidecar: Sidecar, till: Any, one: Callable[..., Any]
) -> None:
    """`invoke` takes another road through LangGraph than `ainvoke`."""
    graph = govern(one(shapes(till.pay)[shape]), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("shape", list(shapes(None)))
def test_a_node_of_any_shape_may_do_what_its_contract_names(
    shape: str, sidecar: Sidecar, till: Any, one: Callable[..., Any]
) -> None:
    """The refusals above come from the contract, not from a broken node."""
    graph = govern(one(shapes(till.pay)[shape]), contracts={"n": Contract(tools=["pay"])}, sidecar=sidecar)

    asyncio.run(graph.ainvoke({"out": ""}))

    assert [1] == till.ran("pay")


@pytest.mark.parametrize("state", [Typed, Modelled, Classed])
def test_no_form_of_state_hides_what_a_node_writes(state: Any, sidecar: Sidecar, one: Callable[..., Any]) -> None:
    """A layer that only knows dictionaries sees an empty state in models and dataclasses."""
    graph = govern(one(lambda s: {"secret": "x"}, state), contracts={"n": Contract(writes=["out"])}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="secret"):
        graph.invoke({"out": "a"})


@pytest.mark.parametrize("state", [Modelled, Classed])
def test_an_object_returned_as_an_update_is_judged_by_the_keys_it_sets(
    state: Any, sidecar: Sidecar, one: Callable[..., Any]
) -> None:
    graph = govern(
        one(lambda s: state(out="a", secret="x"), state), contracts={"n": Contract(writes=["out"])}, sidecar=sidecar
    )

    with pytest.raises(ContractViolation, match="secret"):
        graph.invoke({"out": "a"})


@pytest.mark.parametrize("state", [Typed, Modelled, Classed])
def test_no_form_of_state_hides_what_a_node_reads(state: Any, sidecar: Sidecar, one: Callable[..., Any]) -> None:
    seen: list[Any] = []

    def node(given: Any) -> Any:
        seen.append(given["secret"] if isinstance(given, dict) else given.secret)
        return {"out": "b"}

    graph = govern(one(node, state), contracts={"n": Contract(reads=["out"])}, sidecar=sidecar)

    with pytest.raises((ContractViolation, KeyError)):
        graph.invoke({"out": "a", "secret": "hidden"})

    assert [] == seen


LOOKS: dict[str, Callable[[Any], Any]] = {
    "model_dump": lambda s: s.model_dump() if hasattr(s, "model_dump") else None,
    "model_dump_json": lambda s: s.model_dump_json() if hasattr(s, "model_dump_json") else None,
    "dict": lambda s: dict(s) if hasattr(s, "model_dump") else None,
    "vars": lambda s: dict(vars(s)),
    "repr": repr,
    "members": lambda s: inspect.getmembers(s),
    "model_copy": lambda s: vars(s.model_copy()) if hasattr(s, "model_copy") else None,
    "reduce": lambda s: s.__reduce_ex__(4),
    "getstate": lambda s: s.__getstate__(),
    "getattribute": lambda s: object.__getattribute__(s, "secret"),
}


@pytest.mark.parametrize("state", [Modelled, Classed])
@pytest.mark.parametrize("look", list(LOOKS))
def test_a_view_of_an_object_gives_a_hidden_field_to_no_way_of_looking(
    look: str, state: Any, sidecar: Sidecar, one: Callable[..., Any]
) -> None:
    """What the contract does not let a node read is not in the object it is given."""
    seen: list[str] = []

    def node(given: Any) -> Any:
        try:
            seen.append(str(LOOKS[look](given)))
        except Exception as error:
            seen.append(str(error))
        return {}

    graph = govern(one(node, state), contracts={"n": Contract(reads=["out"])}, sidecar=sidecar)
    try:
        graph.invoke({"out": "a", "secret": "hunter2"})
    except Refusal:
        pass

    assert "hunter2" not in "".join(seen)


def test_a_compiled_graph_used_as_a_node_is_governed_inside(
    sidecar: Sidecar, till: Any, one: Callable[..., Any]
) -> None:
    inner = one(shapes(till.pay)["plain"])
    graph = govern(one(inner), contracts={"n": Contract(tools=["pay"]), "n/n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_node_without_a_contract_stops_govern_and_leaves_the_graph_alone(
    sidecar: Sidecar, one: Callable[..., Any]
) -> None:
    graph = one(lambda s: {"out": "x"})
    before = graph.nodes["n"].node

    with pytest.raises(ContractError):
        govern(graph, contracts={}, sidecar=sidecar)

    assert before is graph.nodes["n"].node


def test_a_node_attached_after_govern_never_runs(sidecar: Sidecar, one: Callable[..., Any]) -> None:
    ran: list[int] = []
    graph = govern(one(lambda s: {"out": "x"}), contracts={"*": Contract()}, sidecar=sidecar)
    graph.builder.add_node("late", lambda s: ran.append(1))
    graph.attach_node("late", graph.builder.nodes["late"])

    with pytest.raises(DoorClosed, match="late"):
        graph.invoke({"out": ""})

    assert [] == ran


@pytest.mark.parametrize("how", ["copy", "swap", "raw"])
def test_a_governed_node_cannot_be_exchanged_for_a_bare_one(how: str, sidecar: Sidecar, till: Any, line: Any) -> None:
    """`PregelNode.copy` drops what was put on the node; the graph notices before it runs."""
    graph = govern(line(first=lambda s: {}, n=shapes(till.pay)["plain"]), contracts={"*": Contract()}, sidecar=sidecar)
    node = graph.nodes["n"]
    if how == "copy":
        graph.nodes["n"] = node.copy({})
    elif how == "swap":
        graph.nodes["n"] = line(n=shapes(till.pay)["plain"]).nodes["n"]
    else:
        node.__dict__["node"] = node.bound

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_no_attribute_of_a_governed_method_hands_out_the_bare_one(sidecar: Sidecar, one: Callable[..., Any]) -> None:
    """`functools.wraps` leaves the original on `__wrapped__`, one attribute away from every node."""
    from langchain_core.language_models import BaseChatModel
    from langchain_core.tools import BaseTool
    from langgraph.pregel import Pregel

    govern(one(lambda s: {}), contracts={"n": Contract()}, sidecar=sidecar)
    governed = [
        BaseTool.run,
        BaseTool.arun,
        BaseChatModel._generate_with_cache,
        BaseChatModel.stream,
        Pregel.stream,
        Pregel.astream,
        Pregel.bulk_update_state,
        Pregel.abulk_update_state,
    ]

    assert [] == [method.__qualname__ for method in governed if hasattr(method, "__wrapped__")]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_conditional_edge_acts_under_the_contract_of_its_node(mode: str, sidecar: Sidecar, till: Any) -> None:
    def route(state: Any) -> str:
        till.pay.invoke({"amount": 1})
        return END

    builder = StateGraph(Typed)
    builder.add_node("n", lambda s: {"out": "x"})
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", route, [END])
    graph = govern(builder.compile(), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""}) if mode == "sync" else asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done


def test_a_conditional_edge_that_swallows_a_refusal_still_ends_the_run(sidecar: Sidecar, till: Any) -> None:
    def route(state: Any) -> str:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            pass
        return "next"

    ran: list[str] = []
    builder = StateGraph(Typed)
    builder.add_node("n", lambda s: {"out": "x"})
    builder.add_node("next", lambda s: ran.append("next"))
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", route, ["next"])
    graph = govern(builder.compile(), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == ran


def test_the_edge_that_chooses_the_first_node_pays_nothing(sidecar: Sidecar, till: Any, rows: Any) -> None:
    """A conditional edge from START runs before any node, and is no way around the contracts."""

    def route(state: Any) -> str:
        till.pay.invoke({"amount": 1})
        return "n"

    builder = StateGraph(Typed)
    builder.add_node("n", lambda s: {"out": "x"})
    builder.add_conditional_edges(START, route, ["n"])
    graph = govern(builder.compile(), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("where", ["node", "default"])
def test_an_error_handler_is_a_node_like_any_other(where: str, sidecar: Sidecar, till: Any) -> None:
    def bad(state: Any) -> Any:
        raise ValueError("boom")

    def handle(state: Any, error: Any = None) -> Any:
        till.pay.invoke({"amount": 1})
        return {"out": "handled"}

    builder = StateGraph(Typed)
    if where == "default":
        builder.set_node_defaults(error_handler=handle)
    builder.add_node("n", bad, **({"error_handler": handle} if where == "node" else {}))
    builder.add_edge(START, "n")
    graph = govern(builder.compile(), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("where", ["node", "default"])
@pytest.mark.parametrize("does", ["goto", "write"])
def test_an_error_handler_routes_and_writes_within_its_contract(where: str, does: str, sidecar: Sidecar) -> None:
    """The handler that `compile()` makes from the defaults is in no builder, yet it is checked."""
    ran: list[str] = []

    def bad(state: Any) -> Any:
        raise ValueError("boom")

    def handle(state: Any, error: Any = None) -> Any:
        return Command(goto="hidden") if does == "goto" else {"secret": "x"}

    builder = StateGraph(Typed)
    if where == "default":
        builder.set_node_defaults(error_handler=handle)
    builder.add_node("n", bad, **({"error_handler": handle} if where == "node" else {}))
    builder.add_node("hidden", lambda s: ran.append("hidden"))
    builder.add_edge(START, "n")
    graph = govern(builder.compile(), contracts={"*": Contract(writes=["out"])}, sidecar=sidecar)

    with pytest.raises(ContractViolation):
        graph.invoke({"out": ""})

    assert [] == ran


@pytest.mark.parametrize("style", ["task", "entrypoint"])
def test_the_functional_api_is_inside(style: str, sidecar: Sidecar, till: Any) -> None:
    @task
    def work(amount: int) -> str:
        return str(till.pay.invoke({"amount": amount}))

    @entrypoint()
    def flow(amount: int) -> str:
        return work(amount).result() if style == "task" else str(till.pay.invoke({"amount": amount}))

    allowed, nothing = Contract(tools=["pay"]), Contract()
    contracts = {"flow": allowed, "flow/*": nothing} if style == "task" else {"flow": nothing, "flow/*": allowed}
    graph = govern(flow, contracts=contracts, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke(1)

    assert [] == till.done


@pytest.mark.parametrize("style", ["task", "entrypoint"])
def test_the_async_functional_api_is_inside(style: str, sidecar: Sidecar, till: Any) -> None:
    @task
    async def work(amount: int) -> str:
        return str(await till.pay.ainvoke({"amount": amount}))

    @entrypoint()
    async def flow(amount: int) -> str:
        return await work(amount) if style == "task" else str(await till.pay.ainvoke({"amount": amount}))

    allowed, nothing = Contract(tools=["pay"]), Contract()
    contracts = {"flow": allowed, "flow/*": nothing} if style == "task" else {"flow": nothing, "flow/*": allowed}
    graph = govern(flow, contracts=contracts, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke(1))

    assert [] == till.done


def test_a_node_sent_to_keeps_its_contract(sidecar: Sidecar, till: Any) -> None:
    """`Send` starts a node with a payload of its own; the contract of that node counts."""
    builder = StateGraph(Typed)
    builder.add_node("a", lambda s: {})
    builder.add_node("n", shapes(till.pay)["plain"])
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda s: [Send("n", {"out": "1"}), Send("n", {"out": "2"})], ["n"])
    graph = govern(builder.compile(), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_retry_policy_never_repeats_a_refusal(sidecar: Sidecar, till: Any, rows: Any) -> None:
    def node(state: Any) -> Any:
        till.pay.invoke({"amount": 1})

    builder = StateGraph(Typed)
    builder.add_node(
        "n", node, retry_policy=RetryPolicy(max_attempts=5, initial_interval=0, jitter=False, retry_on=Exception)
    )
    builder.add_edge(START, "n")
    graph = govern(builder.compile(), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert 1 == sum(row.kind == "node.begun" for row in rows())


def test_a_tool_node_pays_nothing_its_contract_does_not_name(
    sidecar: Sidecar, till: Any, one: Callable[..., Any]
) -> None:
    asked = AIMessage("", tool_calls=[{"name": "pay", "args": {"amount": 1}, "id": "c1"}])
    graph = govern(
        one(ToolNode([till.pay, till.lookup], handle_tool_errors=True)),
        contracts={"n": Contract(tools=["lookup"])},
        sidecar=sidecar,
    )

    for run in (graph.invoke, lambda given: asyncio.run(graph.ainvoke(given))):
        with pytest.raises(AuthorityRefused):
            run({"messages": [asked]})

    assert [] == till.done
