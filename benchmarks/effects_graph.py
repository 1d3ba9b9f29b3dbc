"""The sessions of the benchmark: what each has to get done, and a graph that does it in every way there is.

The model never answers twice alike: which of the open orders, how many at once, for what amount and in
which words differs each time it is asked.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Send, interrupt

from benchmarks.effects_service import Entry, look_up, order
from governance import Contract, Sidecar, SideEffect, declares, effect, govern

BRANCHES = 3
LOOPED = 2
LOOKS = 2
"""Look-ups at most before the model acts: each moves what follows to a later step."""


def union(left: dict[str, str], right: dict[str, str]) -> dict[str, str]:
    return {**left, **right}


class Job(TypedDict, total=False):
    session: str
    asks: bool
    ref: str
    receipts: Annotated[dict[str, str], union]
    messages: Annotated[list[AnyMessage], add_messages]


def references(session: str) -> list[str]:
    """Everything a session has to get done, each of it once."""
    loop = [f"{session}/loop-{n}" for n in range(LOOPED)]
    branches = [f"{session}/branch-{n}" for n in range(BRANCHES)]
    return [*loop, *branches, *(f"{session}/{name}" for name in ("plain", "inner", "asked", "charged", "told"))]


class Moody(BaseChatModel):
    """Asks for what is still open, differently each time."""

    @property
    def _llm_type(self) -> str:
        return "moody"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=answer(messages))])


def answer(messages: list[BaseMessage]) -> AIMessage:
    """The next step towards what the first message asks for."""
    wanted = json.loads(str(messages[0].content))
    told = [str(message.content) for message in messages if isinstance(message, ToolMessage)]
    open_ones = [ref for ref in wanted["refs"] if not any(said.startswith(f"{ref} ") for said in told)]
    words = f"as I see it today: {uuid.uuid4().hex[:6]}"
    if not open_ones:
        return AIMessage(words)
    looked = sum(said.startswith("seen") for said in told)
    if wanted["looks"] and looked < LOOKS and random.random() < 0.4:
        return AIMessage(words, tool_calls=[call("look", ref=random.choice(open_ones), why=words)])
    chosen = random.sample(open_ones, random.randint(1, len(open_ones)))
    return AIMessage(words, tool_calls=[call(wanted["tool"], ref=ref, amount=random.randint(1, 999)) for ref in chosen])


def call(name: str, **args: Any) -> Any:
    return {"name": name, "args": args, "id": uuid.uuid4().hex, "type": "tool_call"}


def asking(name: str, *refs: str, looks: bool = False) -> HumanMessage:
    return HumanMessage(json.dumps({"tool": name, "refs": refs, "looks": looks}))


def receipt(entry: Entry) -> str:
    """What a session believes: the reference, the amount, and the receipt that the service gave."""
    return f"{entry.ref} {entry.amount} {entry.receipt}"


def found(port: int, args: Mapping[str, Any]) -> str | None:
    """What the service did for these arguments."""
    entries = look_up(port, args["ref"])
    return receipt(entries[0]) if entries else None


def tools(port: int) -> dict[str, BaseTool]:
    """Calls of the service: with `reconcile`, with a business key too, and with neither."""

    def find(args: Mapping[str, Any]) -> str | None:
        return found(port, args)

    def ordering(name: str, does: SideEffect) -> BaseTool:
        def run(ref: str, amount: int) -> str:
            return receipt(order(port, ref, amount, os.getpid()))

        run.__doc__ = f"{name} an amount."
        return declares(does)(tool(name)(run))

    @declares(SideEffect("read"))
    @tool
    def look(ref: str, why: str) -> str:
        """Look up what was done."""
        return f"seen {len(look_up(port, ref))} ({why})"

    made = [
        look,
        ordering("refund", SideEffect("external", reconcile=find)),
        ordering("book", SideEffect("external", key="book:{ref}", reconcile=find)),
        ordering("notify", SideEffect("external")),
    ]
    return {one.name: one for one in made}


def acting(tool: BaseTool, what: str | None, *, asynchronous: bool, then: Any = lambda state: None) -> Any:
    """A node that asks the model and calls a tool itself; `then` comes after the effect, before the node's end."""
    model = Moody()

    def prompt(state: Job) -> list[BaseMessage]:
        return [asking(tool.name, state["ref"] if what is None else f"{state['session']}/{what}")]

    def done(state: Job, said: str) -> Job:
        then(state)
        return {"receipts": {said.split()[0]: said}}

    def node(state: Job) -> Job:
        return done(state, tool.invoke(model.invoke(prompt(state)).tool_calls[0]["args"]))

    async def anode(state: Job) -> Job:
        said = await model.ainvoke(prompt(state))
        return done(state, await tool.ainvoke(said.tool_calls[0]["args"]))

    return anode if asynchronous else node


def charging(port: int, *, asynchronous: bool) -> Any:
    """A node whose effect is no tool's but a block of its own code."""
    model, does = Moody(), SideEffect("external", reconcile=lambda args: found(port, args))

    def wanted(state: Job) -> list[BaseMessage]:
        return [asking("charge", f"{state['session']}/charged")]

    def node(state: Job) -> Job:
        args = model.invoke(wanted(state)).tool_calls[0]["args"]
        with effect("charge", args, does=does) as charge:
            if charge.fresh:
                charge.outcome = receipt(order(port, args["ref"], args["amount"], os.getpid()))
        return {"receipts": {args["ref"]: charge.outcome}}

    async def anode(state: Job) -> Job:
        said = await model.ainvoke(wanted(state))
        args = said.tool_calls[0]["args"]
        async with effect("charge", args, does=does) as charge:
            if charge.fresh:
                done = await asyncio.to_thread(order, port, args["ref"], args["amount"], os.getpid())
                charge.outcome = receipt(done)
        return {"receipts": {args["ref"]: charge.outcome}}

    return anode if asynchronous else node


def agent(*, asynchronous: bool) -> Any:
    """The model's part in a loop with tools, as an agent has it."""
    model = Moody()

    def messages(state: Job) -> list[AnyMessage]:
        wanted = asking("refund", *(f"{state['session']}/loop-{n}" for n in range(LOOPED)), looks=True)
        return [wanted, *state.get("messages", [])]

    def node(state: Job) -> Job:
        return {"messages": [model.invoke(messages(state))]}

    async def anode(state: Job) -> Job:
        return {"messages": [await model.ainvoke(messages(state))]}

    return anode if asynchronous else node


def collected(state: Job) -> Job:
    """What the loop's tools said, as receipts."""
    said = [str(message.content) for message in state["messages"] if isinstance(message, ToolMessage)]
    return {"receipts": {one.split()[0]: one for one in said if not one.startswith("seen")}}


def onward(state: Job) -> Literal["tools", "collect"]:
    last = state["messages"][-1]
    return "tools" if isinstance(last, AIMessage) and last.tool_calls else "collect"


def spread(state: Job) -> list[Send]:
    return [Send("branch", {"ref": f"{state['session']}/branch-{n}"}) for n in range(BRANCHES)]


def confirmed(state: Job) -> None:
    if state["asks"]:
        interrupt("was that right?")


def nested(act: Any, state: Any = Job) -> Any:
    """A graph in a graph, whose second node acts."""
    builder = StateGraph(state)
    builder.add_node("think", lambda state: {})
    builder.add_node("act", act)
    builder.add_edge(START, "think")
    builder.add_edge("think", "act")
    return builder.compile()


def graph_on(sidecar: Sidecar, port: int, saver: Any, *, asynchronous: bool) -> Any:
    """The governed graph of every session."""
    known, kind = tools(port), {"asynchronous": asynchronous}
    builder = StateGraph(Job)
    builder.add_node("agent", agent(**kind))
    builder.add_node("tools", ToolNode([known["refund"], known["look"]], handle_tool_errors=False))
    builder.add_node("collect", collected)
    builder.add_node("plain", acting(known["book"], "plain", **kind))
    builder.add_node("branch", acting(known["refund"], None, **kind))
    builder.add_node("inner", nested(acting(known["refund"], "inner", then=confirmed, **kind)))
    builder.add_node("asked", acting(known["book"], "asked", then=confirmed, **kind))
    builder.add_node("charged", charging(port, **kind))
    builder.add_node("told", acting(known["notify"], "told", **kind))
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", onward)
    builder.add_edge("tools", "agent")
    builder.add_edge("collect", "plain")
    builder.add_conditional_edges("plain", spread, ["branch"])
    for before, after in itertools.pairwise(("branch", "inner", "asked", "charged", "told", END)):
        builder.add_edge(before, after)
    contract = Contract(tools=[*known, "charge"])
    return govern(
        builder.compile(checkpointer=saver, name="jobs"),
        contracts={"*": contract, "inner/*": contract},
        sidecar=sidecar,
    )
