"""A model is shown what fits of a long history, wherever and however it is called; the state keeps all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from governance import Context, Contract, Policy, Sidecar, govern
from governance.errors import ContextExceeded
from governance.policy import BudgetPolicy, LedgerPolicy
from governance.testing.models import ScriptedChatModel
from governance.tokens import COUNTER
from tests.fixtures import calling
from tests.governance.context.conversations import orderly, refused

FIRST = SystemMessage("You help with orders.")
SMALL = Context(history=800)
LONG = [*orderly(20), HumanMessage("And order W1007?")]


class Chat(TypedDict):
    messages: Annotated[list[Any], add_messages]


class Silent(BaseChatModel):
    """A model with an `invoke` of its own, which LangChain's does not see."""

    @property
    def _llm_type(self) -> str:
        return "silent"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(str(len(messages))))])

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return AIMessage(str(len(input)))


def asking(model: Any) -> Callable[[Any], Any]:
    return lambda state: {"messages": [model.invoke([FIRST, *state["messages"]])]}


def shown(model: ScriptedChatModel) -> list[Any]:
    return model.calls[-1].messages


def fits(messages: list[Any], size: int = 800) -> bool:
    return [] == refused(messages) and size >= sum(COUNTER.message(one) for one in messages[1:])


def test_a_node_asks_with_the_whole_history_and_the_model_is_shown_what_fits(one: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["It has been sent."])
    context = Context(history=1_500)
    graph = govern(one(asking(model), Chat), contracts={"n": Contract(context=context)}, sidecar=sidecar)

    after = graph.invoke({"messages": LONG})

    assert len(LONG) + 1 == len(after["messages"])
    assert fits(shown(model), 1_500)
    assert FIRST is shown(model)[0]
    assert "And order W1007?" == shown(model)[-1].content
    assert "card_7000007" in "".join(str(message.content) for message in shown(model)), "asked for, so recalled"


@pytest.mark.asyncio
async def test_the_same_holds_in_async_code_and_for_streams(one: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["It has been sent."] * 3)
    contracts = {"n": Contract(context=SMALL)}

    async def asks(state: Any) -> Any:
        return {"messages": [await model.ainvoke([FIRST, *state["messages"]])]}

    async def streams(state: Any) -> Any:
        pieces = [piece async for piece in model.astream([FIRST, *state["messages"]])]
        return {"messages": [AIMessage("".join(str(piece.content) for piece in pieces))]}

    def streams_plainly(state: Any) -> Any:
        pieces = model.stream([FIRST, *state["messages"]])
        return {"messages": [AIMessage("".join(str(piece.content) for piece in pieces))]}

    prompts = []
    for node in (asks, streams, streams_plainly):
        after = await govern(one(node, Chat), contracts=contracts, sidecar=sidecar).ainvoke({"messages": LONG})
        assert "It has been sent." == after["messages"][-1].content
        prompts.append([(message.type, message.content) for message in shown(model)])

    assert fits(shown(model))
    assert prompts[0] == prompts[1] == prompts[2]


@pytest.mark.asyncio
async def test_a_stream_of_events_is_asked_with_what_fits(one: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["It has been sent."] * 2)

    def plain(state: Any) -> Any:
        for _ in model.stream_events([FIRST, *state["messages"]], version="v3"):
            pass
        return {"messages": []}

    govern(one(plain, Chat), contracts={"n": Contract(context=SMALL)}, sidecar=sidecar).invoke({"messages": LONG})

    assert fits(shown(model))


def test_a_model_that_brings_its_own_way_in_is_shown_what_fits(one: Any, sidecar: Sidecar) -> None:
    graph = govern(one(asking(Silent()), Chat), contracts={"n": Contract(context=SMALL)}, sidecar=sidecar)

    assert int(graph.invoke({"messages": LONG})["messages"][-1].content) < 20


def test_an_agent_works_through_more_than_its_model_is_shown(sidecar: Sidecar) -> None:
    """Twelve calls of a tool, each with a result of some size; the last answer needs the first."""

    @tool
    def look_up(order: str) -> str:
        "Looks an order up."
        return f'{{"order": "{order}", "payment_id": "card_{order}77", "words": "{"and so on " * 60}"}}'

    calls = [calling(("look_up", {"order": f"W{100 + n}"})).model_copy(update={"id": str(n)}) for n in range(12)]
    script = [
        one.model_copy(update={"tool_calls": [{**one.tool_calls[0], "id": f"id-{n}"}]}) for n, one in enumerate(calls)
    ]
    model = ScriptedChatModel([*script, "done"])
    agent = create_agent(model, [look_up], system_prompt="You help with orders.")
    context = Context(history=1_500)
    govern(agent, contracts={"*": Contract(tools=["look_up"], context=context)}, sidecar=sidecar)

    after = agent.invoke({"messages": [HumanMessage("Which cards paid for these orders?")]})

    assert 26 == len(after["messages"])
    assert all(fits(call.messages, 1_500) for call in model.calls)
    text = "".join(str(message.content) for message in shown(model))
    assert [] == [n for n in range(12) if f"card_W{100 + n}77" not in text]
    assert "Which cards paid for these orders?" in text


def test_a_graph_inside_is_bound_by_its_own_contract(one: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["yes"])
    outer = StateGraph(Chat).add_node("inner", one(asking(model), Chat)).add_edge(START, "inner").compile()
    govern(outer, contracts={"inner": Contract(), "inner/n": Contract(context=SMALL)}, sidecar=sidecar)

    outer.invoke({"messages": LONG})

    assert fits(shown(model))


def test_a_policy_binds_every_node_that_says_nothing_of_its_own(line: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["a", "b"])
    graph = line(Chat, None, one=asking(model), other=asking(model))
    contracts = {"one": Contract(), "other": Contract(context=Context(history=400))}
    govern(graph, contracts=contracts, policy=Policy(context=Context(history=4_000)), sidecar=sidecar)
    graph.invoke({"messages": LONG})

    first, second = (sum(COUNTER.message(one) for one in call.messages[1:]) for call in model.calls)
    assert second <= 400 < first <= 4_000


def test_without_a_context_a_prompt_is_what_the_node_made(one: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["yes"])
    odd = [ToolMessage("nobody asked", tool_call_id="x"), HumanMessage("")]
    govern(one(asking(model), Chat), contracts={"n": Contract()}, sidecar=sidecar).invoke({"messages": odd})

    assert ["nobody asked", ""] == [message.content for message in shown(model)[1:]]


def test_what_is_left_out_is_on_record_once_for_each_cut(one: Any, sidecar: Sidecar, rows: Any, thread: Any) -> None:
    model = ScriptedChatModel(["yes"] * 3)
    graph = govern(one(asking(model), Chat), contracts={"n": Contract(context=SMALL)}, sidecar=sidecar)
    for end in (len(LONG) - 4, len(LONG), len(LONG)):
        graph.invoke({"messages": LONG[:end]}, thread)

    told = [row.body for row in rows("context.compacted")]

    assert sorted({body["left_out"] for body in told}) == [body["left_out"] for body in told]
    assert {"left_out", "tokens", "digest", "times", "shown", "reason", "execution"} == told[0].keys()
    assert 0 < told[0]["tokens"] and told[0]["shown"] <= 800 + COUNTER.message(FIRST) + 3


def test_the_summary_is_on_record_where_prompts_are(one: Any, sidecar: Sidecar, rows: Any) -> None:
    model, policy = ScriptedChatModel(["yes"]), Policy(ledger=LedgerPolicy(payloads="calls"))
    graph = one(asking(model), Chat)
    govern(graph, contracts={"n": Contract(context=SMALL)}, policy=policy, sidecar=sidecar).invoke({"messages": LONG})

    (row,) = rows("context.compacted")
    assert {"sha256", "bytes"} == row.body["summary"].keys()


def test_what_no_provider_would_take_is_mended_and_told(one: Any, sidecar: Sidecar, rows: Any) -> None:
    model = ScriptedChatModel(["yes"])
    odd = [ToolMessage("nobody asked", tool_call_id="x"), HumanMessage(""), calling(("look_up", {}))]
    govern(one(asking(model), Chat), contracts={"n": Contract(context=SMALL)}, sidecar=sidecar).invoke(
        {"messages": odd}
    )

    assert fits(shown(model))
    assert [3] == [row.body["mended"] for row in rows("context.mended")]


def test_a_prompt_that_cannot_fit_is_refused_before_the_model_is_asked(one: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["yes"])
    graph = govern(one(asking(model), Chat), contracts={"n": Contract(context=SMALL)}, sidecar=sidecar)

    with pytest.raises(ContextExceeded, match="the last turn takes"):
        graph.invoke({"messages": [HumanMessage("word " * 2_000)]})
    assert [] == model.calls


def test_tools_and_system_prompt_count_and_are_refused_where_they_leave_no_room(one: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel(["yes"])
    tools = [{"type": "function", "function": {"name": f"tool_{n}", "description": "word " * 50}} for n in range(20)]
    node = lambda state: {"messages": [model.invoke([FIRST, *state["messages"]], tools=tools)]}
    graph = govern(one(node, Chat), contracts={"n": Contract(context=Context(tokens=1_000))}, sidecar=sidecar)

    with pytest.raises(ContextExceeded, match=r"system prompt and tools take \d+ of the 1000 tokens that n may show"):
        graph.invoke({"messages": [HumanMessage("hi")]})


def test_a_budget_is_charged_what_is_shown_and_not_the_history(one: Any, sidecar: Sidecar) -> None:
    """The whole history would not fit the node's tokens."""
    model, policy = ScriptedChatModel(["yes"]), Policy(budget=BudgetPolicy(answer_tokens=100))
    contracts = {"n": Contract(tokens=1_100, context=SMALL)}
    govern(one(asking(model), Chat), contracts=contracts, policy=policy, sidecar=sidecar).invoke({"messages": LONG})

    assert 1 == len(model.calls)


def test_another_process_shows_the_same_after_a_restart(one: Any, tmp_path: Any) -> None:
    """A Sidecar that has seen nothing comes to the same prompt as one that has seen every turn."""
    prompts = []
    for name, ends in (("grown", range(1, len(LONG) + 1)), ("fresh", [len(LONG)])):
        model, sidecar = ScriptedChatModel(["yes"] * len(LONG)), Sidecar(ledger=tmp_path / f"{name}.db")
        graph = govern(one(asking(model), Chat), contracts={"n": Contract(context=SMALL)}, sidecar=sidecar)
        for end in ends:
            graph.invoke({"messages": LONG[:end]}, {"configurable": {"thread_id": "t"}})
        prompts.append([(message.type, message.content) for message in shown(model)])
        sidecar.close()

    assert prompts[0] == prompts[1]


def test_a_resumed_thread_goes_on_from_its_checkpoint(one: Any, sidecar: Sidecar, thread: Any) -> None:
    model = ScriptedChatModel(["yes"] * 30)
    graph = one(asking(model), Chat, checkpointer=InMemorySaver())
    govern(graph, contracts={"n": Contract(context=SMALL)}, sidecar=sidecar)
    for number in range(30):
        graph.invoke({"messages": [HumanMessage(f"Order W{number} again, please: {'word ' * 40}")]}, thread)

    assert 60 == len(graph.get_state(thread).values["messages"])
    assert all(fits(call.messages) for call in model.calls)


def test_a_message_that_is_taken_out_of_the_state_is_not_remembered(one: Any, sidecar: Sidecar, thread: Any) -> None:
    """Who erases what was said does not find it in the next summary."""
    model, context = ScriptedChatModel(["yes"] * 2), Context(history=1_500)
    graph = govern(one(asking(model), Chat), contracts={"n": Contract(context=context)}, sidecar=sidecar)
    secret = HumanMessage("My number is 4711-0815.")
    graph.invoke({"messages": [*LONG[:60], secret, *LONG[60:]]}, thread)
    assert "4711-0815" in "".join(str(message.content) for message in shown(model))
    graph.invoke({"messages": LONG}, thread)

    assert "4711-0815" not in "".join(str(message.content) for message in shown(model))
