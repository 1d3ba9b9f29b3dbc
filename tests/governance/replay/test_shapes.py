"""Graphs of every shape: what runs side by side comes in any order, and what is nested is found where it is."""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, RemoveMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, Send
from pydantic import BaseModel

from governance import Contract
from governance.testing.models import ScriptedChatModel
from tests.fixtures import State, calling
from tests.governance.replay.conftest import MAY, THREAD, Stage

AROUND = [pytest.param(n, id=f"round {n}") for n in range(3)]


def looks(*, works: bool = True) -> Any:
    @tool
    def look(what: str) -> str:
        """Looks, for as long as it takes."""
        assert works, "a replay called a tool"
        time.sleep(random.random() / 1000)
        return f"{what} {random.random()}"

    return look


def handed_out(look: Any, *, items: int = 6, other: str = "") -> Any:
    def work(given: Any) -> Any:
        found = look.invoke({"what": given["item"]})
        return {"log": [found + (other if given["item"] == "item 3" else "")]}

    builder = StateGraph(State).add_node("work", work).add_node("end", lambda state: {"amount": len(state["log"])})
    builder.add_conditional_edges(
        START, lambda state: [Send("work", {"item": f"item {n}"}) for n in range(items)], ["work"]
    )
    return builder.add_edge("work", "end").compile()


@pytest.mark.parametrize("number", AROUND)
def test_work_handed_out_by_send_finds_its_own_record(stage: Stage, number: int) -> None:
    recording = stage.record(handed_out(looks()), {"out": ""})

    assert None is stage.seen(handed_out(looks(works=False)), recording)
    assert ("work#1.s3", "update") == stage.seen(handed_out(looks(works=False), other="!"), recording)
    assert ("work#1.s5", "missing") == stage.seen(handed_out(looks(works=False), items=5), recording)
    assert ("work#1.s6", "unrecorded") == stage.seen(handed_out(looks(works=False), items=7), recording)


@pytest.mark.parametrize("number", AROUND)
def test_threads_of_a_node_may_ask_in_any_order(stage: Stage, line: Any, number: int) -> None:
    def graph(look: Any, *answers: str) -> Any:
        model = ScriptedChatModel(answers)

        def node(state: Any) -> Any:
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(lambda n: look.invoke({"what": str(n)}), range(8)))
            return {"items": found + [str(one.content) for one in model.batch(["a", "b", "c", "d"])]}

        return line(n=node)

    recording = stage.record(graph(looks(), *"wxyz"), {"out": ""})

    assert None is stage.seen(graph(looks(works=False)), recording)


def test_calls_that_were_gathered_may_come_in_another_order(stage: Stage, line: Any) -> None:
    def graph(*order: int) -> Any:
        @tool
        async def look(what: int) -> str:
            """Waits, then looks."""
            await asyncio.sleep(0.01)
            return f"{what} {random.random()}"

        async def node(state: Any) -> Any:
            found = await asyncio.gather(*(look.ainvoke({"what": what}) for what in order))
            return {"items": sorted(found)}

        return line(n=node)

    asyncio.run(stage.recorded(graph(1, 2, 3)).ainvoke({"out": ""}, THREAD))

    assert None is stage.seen(graph(3, 1, 2), stage.recording())


def test_a_prebuilt_agent_replays_over_several_turns(stage: Stage) -> None:
    @tool
    def hand(to: str) -> Command[Any]:
        """Writes the state."""
        return Command(update={"messages": [ToolMessage(f"to {to} {random.random()}", tool_call_id="c1")]})

    def graph(prompt: str, *said: Any) -> Any:
        return create_agent(
            ScriptedChatModel(said), [looks(works=bool(said)), hand], system_prompt=prompt, checkpointer=InMemorySaver()
        )

    stage.contracts = {"*": Contract(tools=["look", "hand"])}
    said = [calling(("look", {"what": "a"}), ("hand", {"to": "b"})), "done", calling(("look", {"what": "c"})), "again"]
    recording = stage.record(graph("Help.", *said), *({"messages": [("user", str(n))]} for n in range(2)))

    assert None is stage.seen(graph("Help."), recording)
    assert ("model#1>model.0", "prompt") == stage.seen(graph("Help!"), recording)


def test_streams_are_replayed_whoever_reads_them(stage: Stage, line: Any) -> None:
    def graph(*said: str) -> Any:
        model = ScriptedChatModel(said)

        async def node(state: Any) -> Any:
            found = "".join([str(piece.content) async for piece in model.astream("a")])
            return {"out": found, "messages": [await model.ainvoke("b")]}

        return line(n=node)

    async def read(governed: Any) -> None:
        async for _ in governed.astream({"out": ""}, THREAD, stream_mode=["messages", "values"]):
            pass

    asyncio.run(read(stage.recorded(graph("one two three", "four"))))

    assert None is stage.seen(graph(), stage.recording())


def test_tasks_of_an_entrypoint_are_found_by_their_number(stage: Stage) -> None:
    def graph(*said: str, other: str = "") -> Any:
        model = ScriptedChatModel(said)

        @task
        def step(n: int) -> str:
            return str(model.invoke(f"step {n}{other if n == 1 else ''}").content)

        @entrypoint()
        def flow(given: str) -> list[str]:
            return [one.result() for one in [step(n) for n in range(3)]]

        return flow

    stage.contracts = None
    recording = stage.record(graph("a", "b", "c"), "x")

    assert None is stage.seen(graph(), recording)
    assert ("flow#0/step.c1>model.0", "prompt") == stage.seen(graph(other="!"), recording)


def test_a_graph_inside_that_was_governed_by_itself_keeps_its_rules_and_writes_nothing(
    stage: Stage, line: Any, rows: Any
) -> None:
    def graph(sidecar: Any, end: str = "") -> Any:
        inner = line(
            a=lambda state: {"out": looks(works=not end).invoke({"what": "a"})}, b=lambda s: {"out": s["out"] + end}
        )
        stage.contracts = {"a": Contract(tools=["look"]), "b": Contract()}
        stage.govern(inner, sidecar)
        stage.contracts = MAY
        hidden = {"inner": inner}
        return line(n=lambda state: hidden["inner"].invoke({"out": ""}))

    recording = stage.record(graph(stage.sidecar), {"out": ""})
    before = rows()

    assert ("n#1/0:b#2", "update") == stage.seen(graph(stage.unused, "!"), recording)
    assert before == rows()
    assert not stage.unused.ledger.path.exists()


def test_a_graph_that_a_tool_runs_is_not_run_again(stage: Stage, line: Any) -> None:
    def graph(*, works: bool = True) -> Any:
        inner = line(a=lambda state: {"out": looks(works=works).invoke({"what": "a"})})

        @tool
        def look(what: str) -> str:
            """Runs a graph."""
            assert works, "a replay called a tool"
            return str(inner.invoke({"out": what})["out"])

        return line(n=lambda state: {"out": look.invoke({"what": "x"})})

    assert None is stage.seen(graph(works=False), stage.record(graph(), {"out": ""}))


def test_a_graph_that_runs_itself_is_replayed(stage: Stage) -> None:
    def graph(add: int = 1) -> Any:
        def node(state: Any) -> Any:
            if state["amount"] > 2:
                return {"log": ["end"]}
            found = made.invoke({"amount": state["amount"] + 1})
            return {"log": [str(state["amount"] * add), *found["log"]]}

        made = StateGraph(State).add_node("n", node).add_edge(START, "n").compile()
        return made

    recording = stage.record(graph(), {"amount": 0})
    assert None is stage.seen(graph(), recording)
    assert ("n#1/0:n#1/0:n#1", "update") == stage.seen(graph(2), recording)


@dataclass
class Plain:
    what: str
    many: int = 1


class Model(BaseModel):
    what: str
    inner: Plain | None = None


def test_states_of_every_kind_are_compared(stage: Stage) -> None:
    class Typed(BaseModel):
        out: str = ""
        model: Model | None = None
        seen: set[str] = set()

    def graph(many: int) -> Any:
        def node(state: Typed) -> Any:
            return {"model": Model(what=state.out, inner=Plain("x", many)), "seen": {"c", "a", "b"}}

        return StateGraph(Typed).add_node("n", node).add_edge(START, "n").compile()

    recording = stage.record(graph(1), {"out": "a"})

    assert None is stage.seen(graph(1), recording)
    found = stage.replayed(graph(2), recording).divergence
    assert found is not None and ("n#1", "1", "2") == (found.path, found.recorded, found.came)


def test_messages_that_are_removed_by_their_ids_are_removed_again(stage: Stage, line: Any) -> None:
    def graph() -> Any:
        return line(
            a=lambda state: {"messages": [HumanMessage("first"), HumanMessage("second")]},
            b=lambda state: {"messages": [RemoveMessage(id=state["messages"][0].id)]},
        )

    assert None is stage.seen(graph(), stage.record(graph(), {"messages": [("user", "x")]}))


def test_chains_of_the_expression_language_are_replayed(stage: Stage, line: Any) -> None:
    def graph(words: str, *said: str) -> Any:
        chain = ChatPromptTemplate.from_messages([("user", words)]) | ScriptedChatModel(said)
        return line(n=lambda state: {"out": str(chain.invoke({"what": state["out"]}).content)})

    recording = stage.record(graph("Tell {what}", "so"), {"out": "a"})

    assert None is stage.seen(graph("Tell {what}"), recording)
    assert ("n#1>model.0", "prompt") == stage.seen(graph("Say {what}"), recording)


def test_a_run_without_a_thread_is_a_session_too(stage: Stage, line: Any, rows: Any) -> None:
    def graph(end: str = "") -> Any:
        return line(n=lambda state: {"log": [state["out"] + end]})

    stage.recorded(graph()).invoke({"out": "a"})
    session = rows()[0].session

    assert session.startswith("run-")
    assert None is stage.seen(graph(), stage.recording(session))
    assert ("n#1", "update") == stage.seen(graph("!"), stage.recording(session))


def test_what_a_session_kept_in_a_store_is_found_there_again_and_nowhere_else(stage: Stage) -> None:
    store = InMemoryStore()

    def graph() -> Any:
        from langgraph.config import get_store

        def node(state: Any) -> Any:
            found = get_store().get(("notes",), "n")
            get_store().put(("notes",), "n", {"times": (found.value["times"] if found else 0) + 1})
            return {"amount": found.value["times"] if found else 0}

        builder = StateGraph(State).add_node("n", node).add_edge(START, "n")
        return builder.compile(store=store, checkpointer=InMemorySaver())

    recording = stage.record(graph(), {"out": "a"}, {"out": "b"})

    assert None is stage.seen(graph(), recording)
    assert {"times": 2} == store.get(("notes",), "n").value  # type: ignore[union-attr]


def test_an_observed_graph_replays_too(stage: Stage, line: Any) -> None:
    stage.contracts = None

    def graph(end: str = "") -> Any:
        return line(n=lambda state: {"out": looks().invoke({"what": "a"}) + end})

    recording = stage.record(graph(), {"out": ""})
    assert None is stage.seen(graph(), recording)
    assert ("n#1", "update") == stage.seen(graph("!"), recording)


def test_strict_rules_hold_in_a_replay_too(stage: Stage, line: Any) -> None:
    stage.mode = "strict"

    def graph(end: str = "") -> Any:
        return line(n=lambda state: {"out": looks().invoke({"what": "a"}) + end, "items": ["x"]})

    recording = stage.record(graph(), {"items": ["a"]})
    assert None is stage.seen(graph(), recording)
    assert ("n#1", "update") == stage.seen(graph("!"), recording)


@pytest.mark.asyncio
async def test_async_code_may_replay_an_async_session(stage: Stage, line: Any) -> None:
    async def node(state: Any) -> Any:
        return {"out": await looks().ainvoke({"what": "a"})}

    await stage.recorded(line(n=node)).ainvoke({"out": ""}, THREAD)

    assert None is stage.seen(line(n=node), stage.recording())


def test_rules_of_redaction_hold_on_both_sides(stage: Stage, line: Any) -> None:
    stage.rules = {"redact": (r"\b\d{4}\b", "ann")}

    def graph(said: str, *answers: str) -> Any:
        model = ScriptedChatModel(answers)
        return line(
            n=lambda state: {"out": f"{state['out']} {said} {model.invoke('Is 1234 of ann?').content}"},
            m=lambda state: {"log": [looks().invoke({"what": "ann 5678"})]},
        )

    recording = stage.record(graph("to ann", "yes, ann, 9999"), {"out": "0000"})

    assert None is stage.seen(graph("to ann"), recording)
    assert ("n#1", "update") == stage.seen(graph("to bob"), recording)


def test_the_settings_of_a_run_that_look_like_secrets_are_on_no_record(stage: Stage, line: Any) -> None:
    from langchain_core.runnables import RunnableConfig

    def node(state: Any, config: RunnableConfig) -> Any:
        assert config["configurable"]["api_key"]
        return {"out": config["configurable"]["who"]}

    config: Any = {"configurable": {"thread_id": "t", "api_key": "s3cr3t", "who": "ann"}}
    recording = stage.record(line(n=node), {"out": ""}, config=config)

    assert None is stage.seen(line(n=node), recording)
    assert not any(b"s3cr3t" in data for _, data in recording.payloads.values())
