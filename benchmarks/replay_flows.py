"""Shapes of graphs: lines, branches, `Send`s, nested graphs, tasks, threads."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from benchmarks.replay_shapes import Built, State, Words, look_up, once, reducing, shape, weigh
from governance import Contract, Sidecar


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

    def drive(graph, sidecar, config):
        return asyncio.run(graph.ainvoke({"topic": words.topic}, config))

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
