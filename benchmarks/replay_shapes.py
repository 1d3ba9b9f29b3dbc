"""Graphs of every shape that a replay has to repeat, each with the changes that may be planted in it.

A shape builds its graph anew for each use: with answers to record a session, and without any to replay it. What is
planted names the place where it must be found, which follows from the graph and not from who looks for it.
"""

from __future__ import annotations

import asyncio
import operator
import random
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, Send, interrupt

from governance import Approval, Contract, Principal, Sidecar, SideEffect, Tool, Verdict, at_most, declares
from governance.testing.models import ScriptedChatModel


class State(TypedDict, total=False):
    topic: str
    out: str
    items: list[str]
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


class Words:
    """What a session is made of: other words for each seed, and nothing at all where it is replayed."""

    def __init__(self, seed: int, *, silent: bool = False) -> None:
        self.rng = random.Random(seed)
        self.silent = silent
        self.topic = f"topic {self.rng.randrange(1000)}"
        self.many = self.rng.randrange(2, 5)

    def model(self, *answers: Any, count: int = 1) -> ScriptedChatModel:
        """Says these answers and so many others; a few more for nodes that are killed and run again."""
        said = [*answers, *(f"answer {self.rng.randrange(10**6)}" for _ in range(count + SPARE))]
        return ScriptedChatModel([] if self.silent else said)

    def number(self) -> int:
        return self.rng.randrange(1, 40)


SPARE = 12


@dataclass(frozen=True)
class Built:
    """A graph before it is governed, and the rules it is governed by."""

    graph: Any
    contracts: Mapping[str, Contract] | None
    drive: Callable[[Any, Sidecar, dict[str, Any]], None]


Build = Callable[[Words, str], Built]
SHAPES: dict[str, Build] = {}
PLANTS: dict[tuple[str, str], tuple[str, str]] = {}
"""Shape and what is planted, to the path and the kind of difference that must be found."""
ANY = {"*": Contract()}


def shape(**plants: tuple[str, str]) -> Callable[[Build], Build]:
    def keep(build: Build) -> Build:
        SHAPES[build.__name__] = build
        for plant, found in plants.items():
            PLANTS[build.__name__, plant] = found
        return build

    return keep


def reducing(reducer: Callable[[list[str], list[str]], list[str]]) -> Any:
    """The same state with a reducer of the graph's own."""
    keys = {
        "topic": str,
        "out": str,
        "log": Annotated[list[str], reducer],
        "messages": Annotated[list[Any], add_messages],
    }
    return TypedDict("Reducing", keys, total=False)  # type: ignore[operator]


def once(given: Any) -> Callable[[Any, Sidecar, dict[str, Any]], None]:
    return lambda graph, sidecar, config: graph.invoke(given, config)


def calls(*made: tuple[str, dict[str, Any]]) -> AIMessage:
    named = [{"name": name, "args": args, "id": f"call_{uuid.uuid4().hex}"} for name, args in made]
    return AIMessage("", tool_calls=named, id=f"run-{uuid.uuid4()}")


@tool
def look_up(what: str) -> str:
    """Looks something up."""
    return f"{what}: {random.randrange(10**9)}"


@tool
def weigh(what: str) -> str:
    """Weighs something."""
    return f"{what} weighs {random.randrange(10**6)}"


@shape(
    prompt=("think#1>model.0", "prompt"),
    result=("look#2", "update"),
    order=("look#2>weigh.0", "order"),
    undeclared=("write#3", "connection"),
    undeclared_clock=("write#3", "update"),
    reducer=("write#3", "state"),
)
def line(words: Words, plant: str) -> Built:
    """Nodes one after the other: a model, two tools, plain code with ids and moments of its own."""
    model, topic = words.model(), words.topic

    def reduced(old: list[str], new: list[str]) -> list[str]:
        return list(dict.fromkeys([*old, *new])) if plant == "reducer" else [*old, *new]

    def think(state: Any) -> Any:
        asked = f"Think about {state['topic']} at {datetime.now(UTC).isoformat()}{'!' * (plant == 'prompt')}"
        return {"messages": [HumanMessage(asked), model.invoke([("system", "You think."), ("user", asked)])]}

    def look(state: Any) -> Any:
        tools = [weigh, look_up] if plant == "order" else [look_up, weigh]
        found = sorted(one.invoke({"what": state["topic"]}) for one in tools)
        return {"out": found[0][: -1 if plant == "result" else None], "log": found}

    def write(state: Any) -> Any:
        if plant == "undeclared":
            with suppress(OSError):
                __import__("socket").create_connection(("127.0.0.1", 9), timeout=0.1)
        moment = time.time() - 3600 * (plant == "undeclared_clock")
        return {"out": f"{uuid.uuid4()} at {moment} and {int(time.time() * 1000)}", "log": [str(uuid.uuid4())] * 2}

    builder = StateGraph(reducing(reduced)).add_sequence([think, look, write]).add_edge(START, "think")
    return Built(
        builder.compile(),
        {"*": Contract(tools=["look_up", "weigh", "hand_over"], hosts=["127.0.0.1"])},
        once({"topic": topic}),
    )


@shape(
    prompt=("branch_1#1>model.0", "prompt"),
    reducer=("join#2", "input"),
    undeclared=("branch_0#1", "update"),
    route=("join#2", "missing"),
)
def parallel(words: Words, plant: str) -> Built:
    """Branches side by side, each with a model and a tool, as fast as they come."""
    models = [words.model() for _ in range(3)]

    def branch(number: int) -> Any:
        async def run(state: Any) -> Any:
            asked = f"{state['topic']}, part {number}"
            await asyncio.sleep(random.random() / 500)
            prompt = asked + "?" * (plant == "prompt" and number == 1)
            said, found = await asyncio.gather(models[number].ainvoke(prompt), look_up.ainvoke({"what": asked}))
            more = [str(random.random())] if plant == "undeclared" and number == 0 else []
            return {"log": [str(said.content), found, *more]}

        return run

    def reduced(old: list[str], new: list[str]) -> list[str]:
        return [*new, *old] if plant == "reducer" else [*old, *new]

    builder = StateGraph(reducing(reduced))
    for number in range(3):
        builder.add_node(f"branch_{number}", branch(number)).add_edge(START, f"branch_{number}")
        builder.add_edge(f"branch_{number}", END if plant == "route" else "join")
    builder.add_node("join", lambda state: {"log": ["joined"]})
    drive = lambda graph, sidecar, config: asyncio.run(graph.ainvoke({"topic": words.topic}, config))  # noqa: E731
    return Built(
        builder.compile(checkpointer=InMemorySaver()), {"*": Contract(tools=["look_up", "weigh", "hand_over"])}, drive
    )


@shape(
    result=("work#2.s1", "update"),
    route=("spare#2.s0", "unrecorded"),
    reducer=("gather#3", "input"),
    prompt=("gather#3>model.0", "prompt"),
)
def send(words: Words, plant: str) -> Built:
    """Work that is handed out by `Send`, to as many as there are items."""
    model = words.model()

    def reduced(old: list[str], new: list[str]) -> list[str]:
        return sorted([*old, *new], reverse=plant == "reducer")

    def split(state: Any) -> Any:
        return {"out": str(words.many)}

    def out(state: Any) -> Any:
        target = "spare" if plant == "route" else "work"
        return [Send(target, {"item": f"{state['topic']}.{n}"}) for n in range(int(state["out"]))]

    def work(given: Any) -> Any:
        time.sleep(random.random() / 500)
        found = look_up.invoke({"what": given["item"]})
        if plant == "result" and given["item"].endswith(".1"):
            found = found.upper()
        return {"log": [found]}

    def gather(state: Any) -> Any:
        asked = ", ".join(state["log"]) + (" and nothing else" if plant == "prompt" else "")
        said = model.invoke(asked).content
        return {"out": str(said), "log": ["gathered"]}

    builder = StateGraph(reducing(reduced)).add_node(split).add_node(work).add_node("spare", work).add_node(gather)
    builder.add_edge(START, "split").add_conditional_edges("split", out, ["work", "spare"])
    builder.add_edge("work", "gather").add_edge("spare", "gather")
    return Built(builder.compile(checkpointer=InMemorySaver()), None, once({"topic": words.topic}))


@shape(
    prompt=("outer#1/0:inner#1>model.0", "prompt"),
    result=("twice#2/1:inner#1", "update"),
    reducer=("twice#2", "input"),
)
def nested(words: Words, plant: str) -> Built:
    """A graph as a node, and the same graph run twice by the code of another node."""
    model = words.model(count=3)
    runs: list[int] = []

    def inner(state: State) -> Any:
        runs.append(1)
        asked = f"{state['topic']} inside{'.' * (plant == 'prompt')}"
        said = str(model.invoke(asked).content)
        return {"out": said + ("+" if plant == "result" and len(runs) == 3 else ""), "log": [said]}

    def twice(state: Any) -> Any:
        first = graph.invoke({"topic": state["topic"]})
        then = graph.invoke({"topic": first["out"]})
        return {"out": then["out"], "log": first["log"] + then["log"]}

    graph = StateGraph(State).add_node(inner).add_edge(START, "inner").compile()

    def added(old: list[str], new: list[str]) -> list[str]:
        return sorted([*old, *new, *(["more"] if plant == "reducer" else [])])

    builder = StateGraph(reducing(added)).add_node("outer", graph).add_node(twice).add_edge(START, "outer")
    return Built(builder.add_edge("outer", "twice").compile(), {"*": Contract()}, once({"topic": words.topic}))


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
        sidecar.approvals.decide(found["__interrupt__"][0].id, choice, by=person, reason="looked", edited=edited)  # type: ignore[arg-type]
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
    prompt=("flow#0/step.c1>model.0", "prompt"),
    result=("flow#0", "update"),
    undeclared=("flow#0/step.c0", "update"),
    order=("flow#0/step.c0", "input"),
)
def tasks(words: Words, plant: str) -> Built:
    """An entrypoint whose tasks run side by side and remember."""
    model = words.model(count=words.many)

    @task
    def step(number: int, topic: str) -> str:
        asked = f"{topic}: step {number}{'!' * (plant == 'prompt' and number == 1)}"
        said = str(model.invoke(asked).content)
        return said + (str(random.random()) if plant == "undeclared" and number == 0 else "")

    @entrypoint(checkpointer=InMemorySaver())
    def flow(topic: str) -> str:
        numbers = range(words.many)
        done = [step(n, topic).result() for n in (reversed(numbers) if plant == "order" else numbers)]
        answer = interrupt(f"{len(done)} steps; go on?")
        return f"{answer}: {' '.join(done)}{'.' * (plant == 'result')}"

    def drive(graph: Any, sidecar: Sidecar, config: dict[str, Any]) -> None:
        graph.invoke(words.topic, config)
        graph.invoke(Command(resume="on"), config)

    return Built(flow, None, drive)


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


@shape(
    prompt=("pool#1>model.0", "prompt"),
    result=("pool#1", "update"),
    undeclared=("pool#1>weigh.0", "unrecorded"),
    order=("after#2>look_up.0", "order"),
)
def threads(words: Words, plant: str) -> Built:
    """A node that asks models and tools from threads of its own, in whatever order they come."""
    model = words.model(count=words.many)

    def pool(state: State) -> Any:
        asked = [f"{state['topic']} {n}{'!' * (plant == 'prompt')}" for n in range(words.many)]
        said = [str(one.content) for one in model.batch(asked)]
        with ThreadPoolExecutor(3) as workers:
            found = list(workers.map(lambda one: look_up.invoke({"what": one}), said))
        if plant == "undeclared":
            weigh.invoke({"what": said[0]})
        return {"log": found[:: -1 if plant == "result" else 1], "items": said}

    def after(state: State) -> Any:
        first, then = (look_up, weigh) if plant == "order" else (weigh, look_up)
        return {"out": " ".join(sorted([first.invoke({"what": "a"}), then.invoke({"what": "a"})]))}

    builder = StateGraph(State).add_node(pool).add_node(after).add_edge(START, "pool").add_edge("pool", "after")
    return Built(
        builder.compile(), {"*": Contract(tools=["look_up", "weigh", "hand_over"])}, once({"topic": words.topic})
    )
