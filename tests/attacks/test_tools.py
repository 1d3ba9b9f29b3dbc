"""Tools: the allowlist, the constraints on arguments, the latch, and everything on record whatever the tool does."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, interrupt
from pydantic import AliasChoices, BaseModel, Field

from governance import Contract, Sidecar, SideEffect, Tool, at_most, declares, govern, matches, one_of
from governance.errors import AuthorityRefused, EffectInDoubt, GovernanceError, Refusal

CALLS: dict[str, Callable[[BaseTool, dict[str, Any]], Any]] = {
    "invoke": lambda t, a: t.invoke(a),
    "tool call": lambda t, a: t.invoke({"type": "tool_call", "id": "c1", "name": "lookup", "args": a}),
    "run": lambda t, a: t.run(a),
    "batch": lambda t, a: t.batch([a]),
    "batch as completed": lambda t, a: list(t.batch_as_completed([a])),
    "stream": lambda t, a: list(t.stream(a)),
    "transform": lambda t, a: list(t.transform(iter([a]))),
    "bound": lambda t, a: t.with_config(tags=["x"]).invoke(a),
    "retry": lambda t, a: t.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke(a),
    "fallback": lambda t, a: t.with_fallbacks([t]).invoke(a),
    "mapped": lambda t, a: t.map().invoke([a]),
    "piped": lambda t, a: (t | (lambda x: x)).invoke(a),
}
ASYNC_CALLS: dict[str, Callable[[BaseTool, dict[str, Any]], Any]] = {
    "ainvoke": lambda t, a: t.ainvoke(a),
    "arun": lambda t, a: t.arun(a),
    "abatch": lambda t, a: t.abatch([a]),
    "astream": lambda t, a: _drained(t.astream(a)),
    "tool call": lambda t, a: t.ainvoke({"type": "tool_call", "id": "c1", "name": "lookup", "args": a}),
    "to_thread": lambda t, a: asyncio.to_thread(t.invoke, a),
}


PATIENT = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False)


async def _drained(pieces: Any) -> Any:
    return [piece async for piece in pieces]


def asking(*calls: tuple[str, dict[str, Any]]) -> AIMessage:
    asked = [{"name": name, "args": args, "id": f"c{n}"} for n, (name, args) in enumerate(calls)]
    return AIMessage("", tool_calls=asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", list(CALLS))
def test_no_way_of_calling_a_tool_passes_the_allowlist(how: str, sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": str(CALLS[how](till.pay, {"amount": 1}))}),
        contracts={"n": Contract(tools=["lookup"])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("how", list(ASYNC_CALLS))
def test_no_async_way_of_calling_a_tool_passes_the_allowlist(how: str, sidecar: Sidecar, till: Any, one: Any) -> None:
    async def node(state: Any) -> Any:
        return {"out": str(await ASYNC_CALLS[how](till.pay, {"amount": 1}))}

    graph = govern(one(node), contracts={"n": Contract(tools=["lookup"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == till.done


@pytest.mark.parametrize("how", list(CALLS))
def test_every_way_of_calling_a_tool_is_on_record_once(
    how: str, sidecar: Sidecar, till: Any, one: Any, rows: Any
) -> None:
    graph = govern(
        one(lambda s: {"out": str(CALLS[how](till.pay, {"amount": 1}))}),
        contracts={"n": Contract(tools=["pay"])},
        sidecar=sidecar,
    )

    graph.invoke({"out": ""})

    assert [("pay", {"amount": 1})] == [(r.actor, r.body["args"]) for r in rows() if r.kind == "tool.ended"]


@pytest.mark.parametrize("amount", [51, 10**9, "51", "40", 40.5e9, True, None, [40], float("nan"), float("inf")])
def test_a_constraint_is_not_fooled_by_the_form_of_a_value(amount: Any, sidecar: Sidecar, till: Any, one: Any) -> None:
    """What pydantic would coerce into a number inside the tool is no number in front of it."""
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": amount})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": at_most(50)})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_constraint_that_raises_allows_nothing(sidecar: Sidecar, till: Any, one: Any) -> None:
    def broken(value: Any, call: Any) -> str | None:
        raise RuntimeError("cannot judge")

    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": 1})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": broken})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused, match="cannot judge"):
        graph.invoke({"out": ""})

    assert [] == till.done


class Aliased(BaseModel):
    amount: int = Field(default=1, alias="sum")


class Choices(BaseModel):
    amount: int = Field(default=1, validation_alias=AliasChoices("sum", "total"))


@pytest.mark.parametrize("schema", [Aliased, Choices])
def test_an_alias_of_an_argument_does_not_pass_its_constraint(schema: Any, sidecar: Sidecar, one: Any) -> None:
    """The constraint looks at the value the tool gets, not at a default that the alias replaces."""
    done: list[int] = []

    def run(amount: int = 1) -> str:
        done.append(amount)
        return "paid"

    pay = StructuredTool.from_function(run, name="pay", description="pay", args_schema=schema)
    graph = govern(
        one(lambda s: {"out": pay.invoke({"sum": 5000})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": at_most(50)})])},
        sidecar=sidecar,
    )

    try:
        graph.invoke({"out": ""})
    except Refusal:
        pass

    assert [] == [amount for amount in done if amount > 50]


def test_a_default_is_constrained_too(sidecar: Sidecar, one: Any) -> None:
    done: list[int] = []

    @tool
    def pay(amount: int = 5000) -> str:
        """Pay."""
        done.append(amount)
        return "paid"

    graph = govern(
        one(lambda s: {"out": pay.invoke({})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": at_most(50)})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == done


@pytest.mark.parametrize("text", ["ok\nrm -rf", "okay", " ok", "ok "])
def test_a_pattern_must_match_the_whole_text(text: str, sidecar: Sidecar, one: Any) -> None:
    done: list[str] = []

    @tool
    def say(text: str) -> str:
        """Say."""
        done.append(text)
        return text

    graph = govern(
        one(lambda s: {"out": say.invoke({"text": text})}),
        contracts={"n": Contract(tools=[Tool("say", where={"text": matches("ok")})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == done


def test_one_of_tells_true_from_one(sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": True})}),
        contracts={"n": Contract(tools=[Tool("pay", where={"amount": one_of(1)})])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})


# ---- the latch ---------------------------------------------------------------------------------------------------


def test_a_swallowed_refusal_ends_the_node_all_the_same(sidecar: Sidecar, till: Any, one: Any) -> None:
    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            return {"out": "all is well"}

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)
    updates: list[Any] = []

    with pytest.raises(AuthorityRefused):
        for update in graph.stream({"out": ""}, stream_mode="updates"):
            updates.append(update)

    assert [] == updates


def test_after_a_swallowed_refusal_an_allowed_tool_does_not_start(sidecar: Sidecar, till: Any, one: Any) -> None:
    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            till.refund.invoke({"amount": 2})

    graph = govern(one(node), contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="pay"):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_after_a_swallowed_refusal_a_nested_graph_does_not_act(sidecar: Sidecar, till: Any, one: Any) -> None:
    """The nodes of a nested graph have contracts and latches of their own, but they act for the refused node."""
    inner = one(lambda s: {"out": till.refund.invoke({"amount": 2})})

    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            pass
        return inner.invoke({"out": ""})

    graph = govern(
        one(node), contracts={"n": Contract(tools=["refund"]), "n/n": Contract(tools=["refund"])}, sidecar=sidecar
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_after_a_swallowed_refusal_a_task_does_not_act(sidecar: Sidecar, till: Any) -> None:
    from langgraph.func import entrypoint, task

    @task
    def work() -> str:
        return str(till.refund.invoke({"amount": 2}))

    @entrypoint()
    def flow(amount: int) -> str:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            pass
        return work().result()

    graph = govern(flow, contracts={"*": Contract(tools=["refund"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke(1)

    assert [] == till.done


def test_a_refusal_inside_a_nested_graph_cannot_be_swallowed_outside_it(sidecar: Sidecar, till: Any, one: Any) -> None:
    inner = one(lambda s: {"out": till.pay.invoke({"amount": 1})})

    def node(state: Any) -> Any:
        try:
            return inner.invoke({"out": ""})
        except Exception:
            return {"out": till.refund.invoke({"amount": 2})}

    graph = govern(
        one(node), contracts={"n": Contract(tools=["refund"]), "n/n": Contract(tools=["refund"])}, sidecar=sidecar
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == till.done


def test_a_refusal_inside_a_task_cannot_be_swallowed_outside_it(sidecar: Sidecar, till: Any) -> None:
    from langgraph.func import entrypoint, task

    @task
    def work() -> str:
        return str(till.pay.invoke({"amount": 1}))

    @entrypoint()
    def flow(amount: int) -> str:
        try:
            return work().result()
        except Exception:
            return str(till.refund.invoke({"amount": 2}))

    graph = govern(flow, contracts={"*": Contract(tools=["refund"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke(1)

    assert [] == till.done


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_tool_node_that_handles_errors_goes_on_with_nothing(mode: str, sidecar: Sidecar, till: Any, one: Any) -> None:
    """A refused call and its parallel sibling: the sibling may have begun, the update never lands."""
    asked = asking(("pay", {"amount": 1}))
    graph = govern(
        one(ToolNode([till.pay, till.refund], handle_tool_errors=True)),
        contracts={"n": Contract(tools=["refund"])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"messages": [asked]}) if mode == "sync" else asyncio.run(graph.ainvoke({"messages": [asked]}))

    assert [] == till.done


def test_a_swallowed_refusal_does_not_hide_behind_an_interrupt(
    sidecar: Sidecar, till: Any, one: Any, thread: Any
) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 1})
        except Exception:
            interrupt("go on?")

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""}, thread)


def test_a_refusal_answered_to_the_model_still_runs_nothing(sidecar: Sidecar, till: Any, one: Any, rows: Any) -> None:
    asked = asking(("pay", {"amount": 99}), ("lookup", {"amount": 1}))
    rule = Tool("pay", where={"amount": at_most(50)}, refusals="answer")
    graph = govern(
        one(ToolNode([till.pay, till.lookup])), contracts={"n": Contract(tools=[rule, "lookup"])}, sidecar=sidecar
    )

    messages = graph.invoke({"messages": [asked]})["messages"]

    assert [("lookup", 1)] == till.done
    assert "error" == messages[1].status
    assert 1 == sum(row.kind == "tool.answered" for row in rows())


# ---- tools that call tools, and tools that are not what they seem ------------------------------------------------


def test_a_tool_that_calls_another_tool_stays_inside(sidecar: Sidecar, till: Any, one: Any) -> None:
    @tool
    def helper() -> str:
        """Help."""
        return str(till.pay.invoke({"amount": 1}))

    graph = govern(
        one(lambda s: {"out": helper.invoke({})}), contracts={"n": Contract(tools=["helper"])}, sidecar=sidecar
    )

    with pytest.raises(AuthorityRefused, match="pay"):
        graph.invoke({"out": ""})

    assert [] == till.done


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_tool_that_calls_itself_is_judged_each_time(mode: str, sidecar: Sidecar, one: Any) -> None:
    done: list[int] = []

    def run(amount: int) -> str:
        done.append(amount)
        return "paid" if amount > 50 else str(pay.invoke({"amount": 5000}))

    async def arun(amount: int) -> str:
        done.append(amount)
        return "paid" if amount > 50 else str(await pay.ainvoke({"amount": 5000}))

    pay = StructuredTool.from_function(run, coroutine=arun, name="pay", description="pay")

    async def anode(state: Any) -> Any:
        return {"out": await pay.ainvoke({"amount": 1})}

    contract = Contract(tools=[Tool("pay", where={"amount": at_most(50)})])
    node = anode if mode == "async" else (lambda s: {"out": pay.invoke({"amount": 1})})
    graph = govern(one(node), contracts={"n": contract}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [1] == done


def test_a_tool_that_runs_a_graph_that_calls_the_tool_again_is_judged_each_time(sidecar: Sidecar, one: Any) -> None:
    done: list[int] = []

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        done.append(amount)
        return "paid" if amount > 50 else str(one(lambda s: {"out": pay.invoke({"amount": 5000})}).invoke({"out": ""}))

    contract = Contract(tools=[Tool("pay", where={"amount": at_most(50)})])
    graph = govern(one(lambda s: {"out": pay.invoke({"amount": 1})}), contracts={"*": contract}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [1] == done


@pytest.mark.parametrize("method", ["run", "invoke", "ainvoke", "arun"])
def test_a_subclass_that_brings_its_own_entry_is_inside(method: str, sidecar: Sidecar, one: Any) -> None:
    """Also a class made after `govern`, as a node may make one."""
    done: list[int] = []
    graph_made: list[Any] = []

    def entry(self: Any, *args: Any, **kwargs: Any) -> str:
        done.append(1)
        return "paid"

    async def aentry(self: Any, *args: Any, **kwargs: Any) -> str:
        return entry(self)

    def _run(self: Any, amount: int = 1) -> str:
        return "paid"

    async def node(state: Any) -> Any:
        own = aentry if method.startswith("a") else entry
        kind: Any = type("Own", (BaseTool,), {"__module__": __name__, "__annotations__": {}, "_run": _run, method: own})
        sneaky = kind(name="sneaky", description="x")
        result = getattr(sneaky, method)({"amount": 1})
        return {"out": await result if method.startswith("a") else result}

    graph_made.append(govern(one(node), contracts={"n": Contract()}, sidecar=sidecar))

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph_made[0].ainvoke({"out": ""}))

    assert [] == done


def test_a_tool_has_no_name_apart_from_the_function_that_runs(sidecar: Sidecar, till: Any, one: Any, rows: Any) -> None:
    """Where name and function are given apart, `rm` runs under an allowed name; here the name is the tool's own."""
    till.pay.metadata = {"name": "lookup"}
    graph = govern(
        one(lambda s: {"out": till.pay.run({"amount": 1}, run_name="lookup", tags=["lookup"])}),
        contracts={"n": Contract(tools=["lookup"])},
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert ["pay"] == [row.actor for row in rows() if row.kind == "tool.refused"]


def test_a_tool_returning_a_command_sends_control_only_where_the_contract_says(sidecar: Sidecar) -> None:
    from langgraph.graph import START, MessagesState, StateGraph

    ran: list[str] = []

    @tool
    def jump() -> Any:
        """Jump."""
        return Command(goto="hidden")

    builder = StateGraph(MessagesState)
    builder.add_node("n", ToolNode([jump]))
    builder.add_node("hidden", lambda s: ran.append("hidden"))
    builder.add_edge(START, "n")
    graph = govern(builder.compile(), contracts={"*": Contract(tools=["jump"])}, sidecar=sidecar)

    with pytest.raises(Refusal, match="hidden"):
        graph.invoke({"messages": [asking(("jump", {}))]})

    assert [] == ran


# ---- effects and their record ------------------------------------------------------------------------------------


def test_a_tool_that_raises_after_its_effect_is_on_record_with_its_arguments(
    sidecar: Sidecar, one: Any, rows: Any
) -> None:
    @tool
    def wipe(path: str) -> str:
        """Wipe."""
        raise OSError("wiped half of it")

    graph = govern(
        one(lambda s: {"out": wipe.invoke({"path": "/x"})}), contracts={"n": Contract(tools=["wipe"])}, sidecar=sidecar
    )

    with pytest.raises(OSError):
        graph.invoke({"out": ""})

    (failed,) = [row for row in rows() if row.kind == "tool.failed"]
    assert {"path": "/x"} == failed.body["args"]


def test_a_declared_effect_that_raises_leaves_its_intent_on_disk(sidecar: Sidecar, one: Any, rows: Any) -> None:
    @declares(SideEffect("write"))
    @tool
    def wipe(path: str) -> str:
        """Wipe."""
        raise OSError("wiped half of it")

    graph = govern(
        one(lambda s: {"out": wipe.invoke({"path": "/x"})}), contracts={"n": Contract(tools=["wipe"])}, sidecar=sidecar
    )

    with pytest.raises(OSError):
        graph.invoke({"out": ""})

    assert [{"path": "/x"}] == [row.body["args"] for row in rows() if row.kind == "effect.intent"]


class Opaque:
    pass


@pytest.mark.parametrize(
    "value",
    [Opaque(), object, {1, 2}, b"\xff", "\ud800", 2**80, float("nan"), {Opaque(): 1}, lambda: 1],
    ids=["object", "class", "set", "bytes", "surrogate", "huge", "nan", "odd key", "function"],
)
def test_arguments_that_are_no_json_are_on_record_all_the_same(
    value: Any, sidecar: Sidecar, one: Any, rows: Any
) -> None:
    """A log that raises on them after the tool ran records nothing of what happened."""
    done: list[int] = []

    @tool
    def anything(value: Any) -> str:
        """Take anything."""
        done.append(1)
        return "ok"

    graph = govern(
        one(lambda s: {"out": anything.invoke({"value": value})}),
        contracts={"n": Contract(tools=["anything"])},
        sidecar=sidecar,
    )

    graph.invoke({"out": ""})

    assert 1 == sum(row.kind == "tool.ended" for row in rows())
    assert [1] == done


def test_an_argument_that_contains_itself_is_on_record_all_the_same(sidecar: Sidecar, one: Any, rows: Any) -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless

    @tool
    def anything(value: Any) -> str:
        """Take anything."""
        return "ok"

    graph = govern(
        one(lambda s: {"out": anything.invoke({"value": endless})}),
        contracts={"n": Contract(tools=["anything"])},
        sidecar=sidecar,
    )

    graph.invoke({"out": ""})

    assert 1 == sum(row.kind == "tool.ended" for row in rows())


def test_the_record_shows_the_arguments_as_they_were_when_the_tool_ran(sidecar: Sidecar, one: Any, rows: Any) -> None:
    """Changing them afterwards, before the record is written, changes nothing."""

    @tool
    def order(items: Any) -> str:
        """Order."""
        items[:] = ["a pencil"]
        return "ordered"

    graph = govern(
        one(lambda s: {"out": order.invoke({"items": ["a yacht"]})}),
        contracts={"n": Contract(tools=["order"])},
        sidecar=sidecar,
    )

    graph.invoke({"out": ""})

    assert [{"items": ["a yacht"]}] == [row.body["args"] for row in rows() if row.kind == "tool.ended"]


def test_an_effect_happens_once_when_the_node_runs_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    tries: list[int] = []

    def node(state: Any) -> Any:
        till.refund.invoke({"amount": 5})
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("weather")

    graph = govern(
        one(node, options={"retry_policy": PATIENT}), contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar
    )

    graph.invoke({"out": ""})

    assert 3 == len(tries)
    assert [5] == till.ran("refund")


def test_a_resampled_argument_at_a_finished_place_is_for_a_person(sidecar: Sidecar, till: Any, one: Any) -> None:
    """With the arguments in the key, a model that words it differently refunds twice."""
    amounts = iter([5, 6])

    def node(state: Any) -> Any:
        till.refund.invoke({"amount": next(amounts)})
        raise ConnectionError("weather")

    graph = govern(
        one(node, options={"retry_policy": PATIENT}), contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar
    )

    with pytest.raises(EffectInDoubt):
        graph.invoke({"out": ""})

    assert [5] == till.ran("refund")


def test_a_tool_call_id_used_again_does_not_repeat_the_effect(sidecar: Sidecar, till: Any, one: Any) -> None:
    asked = asking(("refund", {"amount": 5}))

    def node(state: Any) -> Any:
        call = {**asked.tool_calls[0], "type": "tool_call"}
        return {"messages": [till.refund.invoke(call) for _ in range(3)]}

    graph = govern(one(node), contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar)

    graph.invoke({"messages": [asked]})

    assert [5] == till.ran("refund")


def test_direct_calls_of_a_tools_function_are_documented_as_invisible(sidecar: Sidecar, till: Any, one: Any) -> None:
    """Plain Python inside a node is the node's own code: `.func` is a function call, and nothing tells it apart."""
    graph = govern(one(lambda s: {"out": till.pay.func(amount=1)}), contracts={"n": Contract()}, sidecar=sidecar)

    graph.invoke({"out": ""})

    assert [1] == till.ran("pay")


def test_a_contract_cannot_be_widened_in_place(sidecar: Sidecar, till: Any, one: Any) -> None:
    """A rule book that is a plain dictionary belongs to whoever holds a reference."""
    contract = Contract(tools=[Tool("lookup", where={"amount": at_most(1)})], writes={"out": str})
    graph = govern(one(lambda s: _widen(contract, till)), contracts={"n": contract}, sidecar=sidecar)

    with pytest.raises((TypeError, AttributeError, GovernanceError)):
        graph.invoke({"out": ""})

    assert [] == till.done


def _widen(contract: Contract, till: Any) -> Any:
    contract.tools["pay"] = Tool("pay")  # type: ignore[index]
    return {"out": till.pay.invoke({"amount": 1})}


@pytest.mark.parametrize("part", ["tools", "effects", "writes", "where"])
def test_no_part_of_a_contract_is_a_dictionary_to_write_to(part: str) -> None:
    rule = Tool("pay", where={"amount": at_most(1)})
    contract = Contract(tools=[rule], writes={"out": str}, effects={"pay": SideEffect("write")})
    target: Any = rule.where if part == "where" else getattr(contract, part)

    with pytest.raises(TypeError):
        target["other"] = None


def test_a_dictionary_given_to_govern_is_not_looked_at_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    contracts = {"n": Contract()}
    graph = govern(one(lambda s: {"out": till.pay.invoke({"amount": 1})}), contracts=contracts, sidecar=sidecar)
    contracts["n"] = Contract.permissive()

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})


def test_callbacks_that_raise_are_not_what_stops_a_tool(sidecar: Sidecar, till: Any, one: Any) -> None:
    """A raising callback does not stop a run by default; the boundary does, whatever callbacks there are."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Quiet(BaseCallbackHandler):
        def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("a callback's veto")

    graph = govern(one(lambda s: {"out": till.pay.invoke({"amount": 1})}), contracts={"n": Contract()}, sidecar=sidecar)

    with warnings.catch_warnings(), pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""}, {"callbacks": [Quiet()]})

    assert [] == till.done
