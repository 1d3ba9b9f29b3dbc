"""What a model says the second time does not make an effect happen twice."""

from __future__ import annotations

import asyncio
import functools
import itertools
import operator as operators
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from governance import Contract, SideEffect, Verdict, declares, operator
from governance.errors import (
    GateRefused,
)
from tests.attacks.answers import CONFIG
from tests.attacks.tills import MAY, PATIENT, Till, moody, rewound, stumbling
from tests.fixtures import State

ASKED: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda model: model.invoke("?"),
    "stream": lambda model: functools.reduce(operators.add, model.stream("?")),
    "batch": lambda model: model.batch(["?"])[0],
    "generate": lambda model: model.generate([[HumanMessage("?")]]).generations[0][0].message,
    "a chain": lambda model: (model | (lambda said: said)).invoke("?"),
}


@pytest.mark.parametrize("how", list(ASKED))
def test_a_model_is_not_asked_again_for_an_effect_that_happened(how: str, ruled: Any, line: Any) -> None:
    till, model, stumble = Till(), moody(), stumbling()

    def node(state: Any) -> Any:
        said = till.pay.invoke(ASKED[how](model).tool_calls[0]["args"])
        stumble()
        return {"out": said + interrupt("?")}

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=(node, {"retry_policy": PATIENT})), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)

    assert "paid 1!" == graph.invoke(Command(resume="!"), CONFIG)["out"]
    assert [1] == till.paid


def test_many_prompts_at_once_are_all_answered_as_before(ruled: Any, line: Any) -> None:
    """Which of the threads asks first is chance."""
    till, counted = Till(), itertools.count()

    class Chancy(GenericFakeChatModel):
        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
            time.sleep(random.uniform(0, 0.02))
            said = AIMessage(f"{messages[-1].content}: {next(counted)}")
            return ChatResult(generations=[ChatGeneration(message=said)])

    model, seen = Chancy(messages=iter([])), []

    def node(state: Any) -> None:
        with ThreadPoolExecutor(8) as pool:
            shuffled = random.sample(range(8), 8)
            said = dict(zip(shuffled, pool.map(lambda n: model.invoke(f"{n}").content, shuffled), strict=True))
        seen.append([said[n] for n in range(8)])
        till.pay.invoke({"amount": len(said)})
        interrupt("?")

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    graph.invoke(Command(resume="."), CONFIG)

    assert seen[0] == seen[1]


def test_an_async_stream_of_a_model_is_not_asked_again(ruled: Any, line: Any) -> None:
    till, model = Till(), moody()

    async def node(state: Any) -> Any:
        pieces = [piece async for piece in model.astream("?")]
        said = await till.pay.ainvoke(functools.reduce(operators.add, pieces).tool_calls[0]["args"])
        return {"out": said + interrupt("?")}

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY)
    asyncio.run(graph.ainvoke({"out": ""}, CONFIG))

    assert "paid 1!" == asyncio.run(graph.ainvoke(Command(resume="!"), CONFIG))["out"]
    assert [1] == till.paid


@pytest.mark.parametrize("options", [{"retry_policy": PATIENT}, {}], ids=["retried", "resumed"])
def test_a_useless_answer_is_not_kept_for_the_sake_of_a_neighbours_effect(options: Any, ruled: Any) -> None:
    """Nothing that happened stands on it, so the model may do better."""
    till, said = Till(), threading.Event()
    model = GenericFakeChatModel(messages=iter([AIMessage("[garbage"), AIMessage("[1]")]))

    def thinks(state: Any) -> Any:
        answer = model.invoke("a list, please").content
        said.set()
        time.sleep(0.3)  # until the neighbour has paid
        if answer == "[garbage":
            raise ConnectionError("it does not parse")
        return {"log": [answer]}

    def pays(state: Any) -> Any:
        said.wait(5)
        return {"log": [till.pay.invoke({"amount": 5})]}

    builder = StateGraph(State).add_node("thinks", thinks, **options).add_node("pays", pays)
    builder.add_edge(START, "thinks").add_edge(START, "pays")
    graph = ruled(builder.compile(checkpointer=InMemorySaver()), contracts=MAY)
    with suppress(ConnectionError):
        graph.invoke({"log": []}, CONFIG)

    assert {"[1]", "paid 5"} == set(graph.invoke(None, CONFIG)["log"])
    assert [5] == till.paid


@pytest.mark.parametrize("by", ["a model", "a look-up"])
@pytest.mark.parametrize("options", [{"retry_policy": PATIENT}, {}], ids=["retried", "resumed"])
def test_what_was_said_after_an_effect_is_not_kept_for_its_sake(options: Any, by: str, ruled: Any, line: Any) -> None:
    """The effect does not stand on it, so that the node may wait for something better."""
    till, words = Till(), iter(["pending", "ready"])
    model = GenericFakeChatModel(messages=map(AIMessage, words))
    look = declares(SideEffect("read"))(
        StructuredTool.from_function(lambda: next(words), name="look", description="Look.")
    )

    def node(state: Any) -> Any:
        till.pay.invoke({"amount": 5})
        said = model.invoke("?").content if by == "a model" else look.invoke({})
        if said == "pending":
            raise ConnectionError("not yet")
        return {"out": said}

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=(node, options)), contracts=MAY)
    with suppress(ConnectionError):
        graph.invoke({"out": ""}, CONFIG)

    assert "ready" == graph.invoke(None, CONFIG)["out"]
    assert [5] == till.paid


def test_an_effect_that_is_found_again_and_again_is_no_loop(ruled: Any, line: Any) -> None:
    """Every answer to a question runs the node again from its start."""
    till = Till()

    def node(state: Any) -> Any:
        till.pay.invoke({"amount": 5})
        return {"out": "".join(interrupt(f"letter {n}?") for n in range(5))}

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    for letter in "hello":
        said = graph.invoke(Command(resume=letter), CONFIG)

    assert ("hello", [5]) == (said["out"], till.paid)


@pytest.mark.parametrize("saver", [None, True], ids=["shared", "of its own"])
@pytest.mark.parametrize("how", ["retried", "rewound", "rewound within", "changed within"])
def test_a_nested_graph_that_asks_after_its_effect_repeats_nothing(how: str, saver: Any, ruled: Any, line: Any) -> None:
    till, stumble = Till(), stumbling(1 if how == "retried" else 0)

    def pays(state: Any) -> Any:
        return {"out": till.pay.invoke({"amount": 5})}

    def asks(state: Any) -> Any:
        stumble()
        return {"other": interrupt("?")}

    inner = line(compiled={"checkpointer": saver}, x=lambda s: {}, y=pays, z=asks)
    options = {"retry_policy": PATIENT}
    nodes = {"a": lambda s: {}, "g": (lambda s: inner.invoke({"out": ""}), options)}
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, **nodes), contracts={**MAY, "*/*": MAY["*"]})
    graph.invoke({"out": ""}, CONFIG)
    if how.endswith("within"):
        (asking,) = graph.get_state(CONFIG, subgraphs=True).tasks
        whole = {key: asking.state.config["configurable"][key] for key in ("thread_id", "checkpoint_ns")}
        (within,) = (one for one in graph.get_state_history({"configurable": whole}) if one.next == ("y",))
        with operator("ann", reason="to see it again"):
            changed = how == "changed within"
            graph.invoke(None, graph.update_state(within.config, {"log": ["x"]}) if changed else within.config)
    elif how == "rewound":
        rewound(graph, "a")
    said = graph.invoke(Command(resume="yes"), CONFIG)

    assert ("paid 5", "yes", [5]) == (said["out"], said["other"], till.paid)


def test_a_gate_revises_no_effect_and_what_was_said_stands(ruled: Any, line: Any) -> None:
    till, model = Till(), moody()
    contract = Contract(tools=["pay"], attempts=3, gates=[lambda call, update: Verdict.revise("not good enough")])
    node = lambda s: {"out": till.pay.invoke(model.invoke("?").tool_calls[0]["args"])}
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts={"n": contract})
    for given in ({"out": ""}, None):
        with pytest.raises(GateRefused):
            graph.invoke(given, CONFIG)

    assert [1] == till.paid
