"""Going back to an earlier checkpoint, and changing the state there, makes no effect happen twice."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from governance import SideEffect, declares, operator
from governance.errors import (
    EffectInDoubt,
)
from tests.attacks.answers import CONFIG
from tests.attacks.tills import MAY, Till, agent, moody, rewound
from tests.fixtures import State, calling


def test_a_rewind_past_a_look_up_repeats_nothing(ruled: Any, line: Any) -> None:
    """What is looked up differs after the effect, and with it the prompt that the model decides on."""
    till = Till()
    look = declares(SideEffect("read"))(
        StructuredTool.from_function(lambda: f"{len(till.paid)} paid", name="look", description="Look.")
    )
    run = [calling(("look", {})), calling(("pay", {"amount": 1})), AIMessage("done")]
    other = [calling(("look", {})), calling(("pay", {"amount": 2})), AIMessage("done")]
    nodes = agent(till, GenericFakeChatModel(messages=iter([*run, *other])), look)
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, **nodes), contracts=MAY)
    graph.invoke({"messages": []}, CONFIG)
    with suppress(EffectInDoubt):
        rewound(graph, "a")

    assert [1] == till.paid


def test_a_node_that_stumbles_in_a_rewind_hears_what_was_said(ruled: Any, line: Any) -> None:
    """The second attempt is one for the weather's sake, not for a better answer."""
    till, trouble = Till(), iter([None, None, "weather"])

    def stumble() -> None:
        if next(trouble, None):
            raise ConnectionError("weather")

    nodes = agent(till, moody(), then=stumble)
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, a=nodes["a"], t=nodes["t"]), contracts=MAY)
    graph.invoke({"messages": []}, CONFIG)
    next(trouble)

    assert "paid 1" == rewound(graph, "a")["messages"][-1].content
    assert [1] == till.paid


def test_a_rewind_after_one_with_changed_state_finds_what_the_first_run_did(ruled: Any, line: Any) -> None:
    till, model = Till(), moody()

    def node(state: Any) -> Any:
        return {"out": till.pay.invoke(model.invoke(state["other"]).tool_calls[0]["args"])}

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, a=lambda s: {}, n=node), contracts=MAY)
    graph.invoke({"other": "as it was"}, CONFIG)
    with pytest.raises(EffectInDoubt, match="with other arguments"):
        rewound(graph, "n", {"other": "changed"})

    assert "paid 1" == rewound(graph, "n")["out"]
    assert [1] == till.paid


def test_a_change_of_state_that_asks_for_the_same_effect_finds_it(ruled: Any, line: Any) -> None:
    till = Till()
    nodes = {"a": lambda s: {}, "n": lambda s: {"out": till.pay.invoke({"amount": s["amount"]})}}
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, **nodes), contracts=MAY)
    graph.invoke({"amount": 5}, CONFIG)
    rewound(graph, "n", {"other": "changed"})
    with pytest.raises(EffectInDoubt):
        rewound(graph, "n", {"amount": 6})

    assert [5] == till.paid


def test_a_change_of_state_in_the_name_of_a_node_takes_that_nodes_step(ruled: Any, line: Any) -> None:
    till = Till()
    nodes = {"a": lambda s: {}, "n": lambda s: {"out": till.pay.invoke({"amount": 5})}}
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, **nodes), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    earlier = next(one for one in graph.get_state_history(CONFIG) if one.next == ("a",))
    with operator("ann", reason="it has been done by hand"):
        graph.invoke(None, graph.update_state(earlier.config, {"other": "x"}, as_node="a"))

    assert [5] == till.paid


def sending(till: Till) -> StateGraph[Any]:
    builder = StateGraph(State)
    builder.add_node("a", lambda state: {"out": "a"})
    builder.add_node("branch", lambda given: {"log": [till.pay.invoke({"amount": given["amount"]})]})
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: [Send("branch", {"amount": n}) for n in (1, 2)], ["branch"])
    return builder


@pytest.mark.parametrize("before", ["a fork", "a change"])
def test_a_change_of_state_on_top_of_another_does_not_repeat_the_branches(before: str, ruled: Any) -> None:
    """A rewind to where a process that was killed had rewound to, or changed the state."""
    till = Till()
    graph = ruled(sending(till).compile(checkpointer=InMemorySaver()), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    at = next(one for one in graph.get_state_history(CONFIG) if one.next == ("branch", "branch"))
    with operator("ann", reason="what if"):
        if before == "a change":
            first = graph.update_state(at.config, {"other": "x"})
        else:
            graph.invoke(None, at.config)
            first = next(one for one in graph.get_state_history(CONFIG) if one.metadata["source"] == "fork").config
        graph.invoke(None, graph.update_state(first, {"other": "y"}))

    assert [1, 2] == sorted(till.paid)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_change_of_state_after_branches_does_not_repeat_the_branches(asynchronous: bool, ruled: Any) -> None:
    """LangGraph takes the node that sent them for the author of the change, and sends them anew."""
    till = Till()
    graph = ruled(sending(till).compile(checkpointer=InMemorySaver()), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    with operator("ann", reason="what if"):
        if asynchronous:
            asyncio.run(graph.aupdate_state(CONFIG, {"other": "x"}))
        else:
            graph.update_state(CONFIG, {"other": "x"})
        graph.invoke(None, CONFIG)

    assert [1, 2] == sorted(till.paid)
