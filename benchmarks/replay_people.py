"""Shapes of graphs that ask people, stream, call tools as agents do, fail and stop."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from contextlib import suppress
from typing import Annotated, Any

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, interrupt

from benchmarks.replay_shapes import Built, State, Words, calls, look_up, once, shape, weigh
from governance import Approval, Contract, Principal, Sidecar, SideEffect, Tool, Verdict, at_most, declares


@shape(
    prompt=("ask#1", "question"),
    result=("ask#1", "update"),
    route=("late#2", "unrecorded"),
)
def asking(words: Words, plant: str) -> Built:
    """Questions to a person, two in one node, and a tool that asks one itself."""
    model = words.model(count=9)

    @tool
    def confirmed(what: str) -> str:
        """Asks before it looks."""
        return f"{what}: {interrupt(f'May I look up {what}?')}"

    def ask(state: State) -> Any:
        said = model.invoke(f"Ask about {state['topic']}").content
        first = interrupt({"question": said, "style": "short" if plant == "prompt" else "long"})
        second = interrupt(f"And after {first}?")
        return {"out": f"{first}{'!' * (plant == 'result')}, {second}", "log": [str(said)]}

    def look(state: State) -> Any:
        return {"log": [confirmed.invoke({"what": state["out"]}), str(interrupt("Done?"))]}

    def drive(graph: Any, sidecar: Sidecar, config: dict[str, Any]) -> None:
        graph.invoke({"topic": words.topic}, config)
        for answer in ("yes", {"how": words.topic}, "look", "done"):
            graph.invoke(Command(resume=answer), config)

    builder = StateGraph(State).add_node(ask).add_node(look).add_node("late", look).add_edge(START, "ask")
    builder.add_conditional_edges("ask", lambda state: "late" if plant == "route" else "look", ["look", "late"])
    contracts = {"*": Contract(tools=["confirmed"])}
    return Built(builder.compile(checkpointer=InMemorySaver()), contracts, drive)


@shape(
    prompt=("decide#1>model.0", "prompt"),
    result=("pay#2", "question"),
    order=("pay#2>note.0", "unrecorded"),
    route=("skip#2", "unrecorded"),
)
def approvals(words: Words, plant: str) -> Built:
    """Tools that a person approves, edits or denies, an update that a gate sends back, and one that waits."""
    model = words.model("bad", "good")
    choice = words.rng.choice(["approve", "edit", "deny"])
    amount = words.number()

    @declares(SideEffect("external", dry_run=lambda args: f"would pay {random.random()}"))
    @tool
    def refund(amount: int) -> str:
        """Pays back."""
        return f"paid {amount} as {uuid.uuid4()}"

    @tool
    def note(text: str) -> str:
        """Notes."""
        return f"noted {text}"

    def decide(state: State) -> Any:
        asked = f"Decide about {state['topic']}{' now' * (plant == 'prompt')}"
        return {"out": str(model.invoke(asked).content), "messages": [HumanMessage(asked)]}

    def pay(state: State) -> Any:
        if plant == "order":
            noted = note.invoke({"text": state["topic"]})
            paid = refund.invoke({"amount": amount})
        else:
            paid = refund.invoke({"amount": amount})
            noted = note.invoke({"text": state["topic"]})
        return {"out": paid[5 if plant == "result" else 0 :], "log": [noted]}

    def gate(call: Any, update: Any) -> Verdict:
        return Verdict.revise("not good") if update["out"] == "bad" else Verdict.passed()

    contracts = {
        "decide": Contract(gates=[gate], attempts=2, feedback="messages"),
        "pay": Contract(
            tools=[Tool("refund", approval=Approval("pays money"), refusals="answer"), "note"],
            approval=Approval("is told to the customer"),
        ),
        "skip": Contract(),
    }

    def drive(graph: Any, sidecar: Sidecar, config: dict[str, Any]) -> None:
        person, found = Principal("ann", "local"), graph.invoke({"topic": words.topic}, config)
        edited = {"amount": 1} if choice == "edit" else None
        sidecar.approvals.decide(found["__interrupt__"][0].id, choice, by=person, reason="looked", edited=edited)  # type: ignore[arg-type]  # one of the words it knows
        found = graph.invoke(None, config)
        card = found["__interrupt__"][0].id
        graph.invoke(Command(resume={"card": card, "decision": "approve", "by": "ann", "reason": "fine"}), config)

    builder = (
        StateGraph(State).add_node(decide).add_node(pay).add_node("skip", lambda state: {}).add_edge(START, "decide")
    )
    builder.add_conditional_edges("decide", lambda state: "skip" if plant == "route" else "pay", ["pay", "skip"])
    return Built(builder.compile(checkpointer=InMemorySaver()), contracts, drive)


@shape(
    prompt=("stream#1>model.0", "prompt"),
    result=("stream#1", "update"),
    undeclared=("say#2", "connection"),
)
def streaming(words: Words, plant: str) -> Built:
    """Models whose answers are read piece by piece, in the node and by who runs the graph."""
    first, second = words.model("word after word after word"), words.model()

    async def stream(state: State) -> Any:
        asked = state["topic"] + "." * (plant == "prompt")
        said = "".join([str(piece.content) async for piece in first.astream(asked)])
        return {"out": said.title() if plant == "result" else said}

    async def say(state: State) -> Any:
        if plant == "undeclared":
            with suppress(OSError):
                await asyncio.open_connection("127.0.0.1", 9)
        return {"messages": [await second.ainvoke([HumanMessage(state["out"])])]}

    def drive(graph: Any, sidecar: Sidecar, config: dict[str, Any]) -> None:
        async def read() -> None:
            async for _ in graph.astream({"topic": words.topic}, config, stream_mode=["messages", "updates"]):
                pass

        asyncio.run(read())

    builder = StateGraph(State).add_node(stream).add_node(say).add_edge(START, "stream").add_edge("stream", "say")
    return Built(builder.compile(checkpointer=InMemorySaver()), {"*": Contract(hosts=["127.0.0.1"])}, drive)


@shape(
    prompt=("model#1>model.0", "prompt"),
    prompt_tools=("model#1>model.0", "options"),
    result=("tools#2.s2", "update"),
)
def agent(words: Words, plant: str) -> Built:
    """A prebuilt agent with tools called side by side, over several turns of one thread."""
    topic = words.topic
    turns = [
        calls(("look_up", {"what": topic}), ("weigh", {"what": topic}), ("look_up", {"what": "more"})),
        calls(("hand_over", {"to": "ann"})),
        f"About {topic}: done.",
        calls(("weigh", {"what": "again"})),
        "And again.",
    ]

    @tool
    def hand_over(to: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Hands over."""
        return Command(update={"messages": [ToolMessage(f"handed to {to} {uuid.uuid4()}", tool_call_id=tool_call_id)]})

    tools: list[Any] = [look_up, weigh, hand_over]

    @wrap_tool_call
    async def shouting(request: Any, handler: Any) -> Any:
        found = await handler(request)
        if plant == "result" and request.tool_call["args"].get("what") == "more":
            found.content = found.content.upper()
        return found

    built = create_agent(
        words.model(*turns),
        tools[:2] if plant == "prompt_tools" else tools,
        system_prompt="You help a lot." if plant == "prompt" else "You help.",
        checkpointer=InMemorySaver(),
        middleware=[shouting],
    )

    def drive(graph: Any, sidecar: Sidecar, config: dict[str, Any]) -> None:
        for words_ in (f"Tell me about {topic}", "Once more"):
            asyncio.run(graph.ainvoke({"messages": [("user", words_)]}, config))

    return Built(built, {"*": Contract(tools=["look_up", "weigh", "hand_over"])}, drive)


@shape(
    prompt=("ask#1>model.0", "prompt"),
    result=("retried#3", "update"),
    undeclared=("retried#3", "update"),
    route=("retried#2", "unrecorded"),
)
def troubles(words: Words, plant: str) -> Built:
    """Tools that fail, are tried again, are refused with an answer, and a model that fails once."""
    attempts: list[int] = []
    model = words.model(calls(("risky", {"amount": 10}), ("risky", {"amount": 900}), ("broken", {})))
    failing = words.model(ConnectionError("no answer"), "late")

    @tool
    def risky(amount: int) -> str:
        """Pays."""
        return f"paid {amount}: {uuid.uuid4()}"

    @tool
    def broken() -> str:
        """Breaks."""
        raise ValueError(f"broken {random.random()}")

    @tool
    def flaky() -> str:
        """Works in the end."""
        attempts.append(1)
        if len(attempts) < 2:
            raise ConnectionError("not yet")
        return f"worked {random.random()}"

    def ask(state: State) -> Any:
        asked = HumanMessage(f"Pay for {state['topic']}{'!' * (plant == 'prompt')}")
        return {"messages": [asked, model.invoke([asked])]}

    def retried(state: State) -> Any:
        found = flaky.invoke({})
        said = str(failing.invoke(found).content)
        more = str(time.perf_counter()) if plant == "undeclared" else ""
        return {"out": f"{found}, {said}{more}", "log": [found[::-1] if plant == "result" else found]}

    policy = RetryPolicy(initial_interval=0, jitter=False, retry_on=ConnectionError, max_attempts=4)
    builder = StateGraph(State).add_node(ask).add_node("tools", ToolNode([risky, broken], handle_tool_errors=True))
    builder.add_node("retried", retried, retry_policy=policy).add_edge(START, "ask")
    builder.add_edge("ask", "retried" if plant == "route" else "tools").add_edge("tools", "retried")
    limited = Tool("risky", where={"amount": at_most(50)}, refusals="answer")
    contracts = {"*": Contract(tools=[limited, "broken", "flaky"])}
    return Built(builder.compile(), contracts, once({"topic": words.topic}))


@shape(
    result=("second#2", "update"),
    route=("third#2", "unrecorded"),
    prompt=("second#2>model.0", "prompt"),
)
def stopping(words: Words, plant: str) -> Built:
    """Breakpoints, a state that a person corrects between two runs, and a next turn."""
    model = words.model(count=2)

    def first(state: State) -> Any:
        return {"out": f"{state['topic']} first", "log": ["first"]}

    def second(state: State) -> Any:
        said = model.invoke(state["out"] + " " * (plant == "prompt"))
        return {"out": str(said.content) + "." * (plant == "result"), "log": ["second"]}

    def third(state: State) -> Any:
        return Command(update={"log": [f"third {state['out']}"]}, goto=END)

    def drive(graph: Any, sidecar: Sidecar, config: dict[str, Any]) -> None:
        graph.invoke({"topic": words.topic}, config, interrupt_before=["second"])
        graph.update_state(config, {"out": f"corrected {words.topic}"})
        graph.invoke(None, config, interrupt_after=["second"])
        graph.invoke(None, config)
        graph.invoke({"topic": f"{words.topic} again"}, config)

    builder = StateGraph(State).add_node(first).add_node(second).add_node(third, destinations=(END,))
    builder.add_edge(START, "first").add_edge("first", "third" if plant == "route" else "second").add_edge(
        "second", "third"
    )
    return Built(builder.compile(checkpointer=InMemorySaver()), None, drive)
