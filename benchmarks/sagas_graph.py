"""The sessions of the benchmark: what each does, in every way there is, and how each ends.

Every effect is undone by another request of the service, which does it again when it is asked again.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.effects_graph import found, nested, receipt, union
from benchmarks.effects_service import look_up, order
from governance import Contract, Policy, Sidecar, SideEffect, declares, effect, govern
from governance.errors import ApprovalDenied
from governance.policy_saga import SagaPolicy

Fate = Literal["passes", "fails", "denied", "given up"]
FATES: tuple[Fate, ...] = ("fails", "passes", "denied", "given up")
BRANCHES = 3
AMOUNT = 7
RANKS = ("plain", "branch", "inner", "charged", "told", "mailed")
"""What comes after what; branches have no order among themselves."""
PARKS = ("notify", "mail")
"""Tools of which nobody can tell how their undo ended, and one that has none."""


class Refused(Exception):
    """What the last node of a session says that fails."""


class Job(TypedDict, total=False):
    session: str
    fate: Fate
    mails: bool
    ref: str
    receipts: Annotated[dict[str, str], union]


def references(session: str, mails: bool) -> list[str]:
    """Everything a session does, each of it once."""
    names = ["plain", *(f"branch-{n}" for n in range(BRANCHES)), "inner", "charged", "told"]
    return [f"{session}/{name}" for name in (*names, *(["mailed"] if mails else []))]


def taking_back(said: str) -> str:
    """The reference under which an effect is undone."""
    return f"undo {said}"


def does(port: int, **more: Any) -> SideEffect:
    """An effect that is looked up, and so is its undo, unless `more` says otherwise."""

    def undo(args: Mapping[str, Any], outcome: Any) -> None:
        order(port, taking_back(outcome), args["amount"], os.getpid())

    def undone(args: Mapping[str, Any], outcome: Any) -> bool:
        return bool(look_up(port, taking_back(outcome)))

    known: dict[str, Any] = {
        "undo": undo, "undone": undone, "reconcile": lambda args: found(port, args),
    }  # fmt: skip
    return SideEffect("external", **{**known, **more})


def tools(port: int) -> dict[str, BaseTool]:
    def ordering(name: str, what: SideEffect) -> BaseTool:
        def run(ref: str, amount: int) -> str:
            return receipt(order(port, ref, amount, os.getpid()))

        run.__doc__ = f"{name} an amount."
        return declares(what)(tool(name)(run))

    made = [
        ordering("refund", does(port)),
        ordering("book", does(port, key="book:{ref}")),
        ordering("notify", does(port, undone=None, reconcile=None)),
        ordering("mail", SideEffect("external", reconcile=lambda args: found(port, args))),
    ]
    return {one.name: one for one in made}


def acting(tool: BaseTool, what: str | None, *, asynchronous: bool) -> Any:
    def args(state: Job) -> dict[str, Any]:
        return {"ref": state["ref"] if what is None else f"{state['session']}/{what}", "amount": AMOUNT}

    def node(state: Job) -> Job:
        said = tool.invoke(args(state))
        return {"receipts": {said.split()[0]: said}}

    async def anode(state: Job) -> Job:
        said = await tool.ainvoke(args(state))
        return {"receipts": {said.split()[0]: said}}

    return anode if asynchronous else node


def charging(port: int, *, asynchronous: bool) -> Any:
    """A node whose effect is no tool's but a block of its own code; its contract says what it does."""

    def args(state: Job) -> dict[str, Any]:
        return {"ref": f"{state['session']}/charged", "amount": AMOUNT}

    def node(state: Job) -> Job:
        with effect("charge", args(state)) as charge:
            if charge.fresh:
                charge.outcome = receipt(order(port, charge.args["ref"], AMOUNT, os.getpid()))
        return {"receipts": {charge.args["ref"]: charge.outcome}}

    async def anode(state: Job) -> Job:
        async with effect("charge", args(state)) as charge:
            if charge.fresh:
                done = await asyncio.to_thread(order, port, charge.args["ref"], AMOUNT, os.getpid())
                charge.outcome = receipt(done)
        return {"receipts": {charge.args["ref"]: charge.outcome}}

    return anode if asynchronous else node


def spread(state: Job) -> list[Send]:
    return [Send("branch", {"ref": f"{state['session']}/branch-{n}"}) for n in range(BRANCHES)]


def decide(state: Job) -> Job:
    if state["fate"] == "fails":
        raise Refused("the last step failed")
    if state["fate"] == "denied":
        raise ApprovalDenied("ann said no")
    return {}


def graph_on(sidecar: Sidecar, port: int, saver: Any, *, asynchronous: bool) -> Any:
    """The governed graph of every session."""
    known, kind = tools(port), {"asynchronous": asynchronous}
    builder = StateGraph(Job)
    builder.add_node("plain", acting(known["book"], "plain", **kind))
    builder.add_node("branch", acting(known["refund"], None, **kind))
    builder.add_node("inner", nested(acting(known["refund"], "inner", **kind), Job))
    builder.add_node("charged", charging(port, **kind))
    builder.add_node("told", acting(known["notify"], "told", **kind))
    builder.add_node("mailed", acting(known["mail"], "mailed", **kind))
    builder.add_node("decide", decide)
    builder.add_edge(START, "plain")
    builder.add_conditional_edges("plain", spread, ["branch"])
    for before, after in itertools.pairwise(("branch", "inner", "charged", "told")):
        builder.add_edge(before, after)
    builder.add_conditional_edges("told", lambda state: "mailed" if state["mails"] else "decide", ["mailed", "decide"])
    builder.add_edge("mailed", "decide")
    builder.add_edge("decide", END)
    contract = Contract(tools=[*known, "charge"], effects={"charge": does(port)})
    return govern(
        builder.compile(checkpointer=saver, name="jobs"),
        contracts={"*": contract, "inner/*": contract},
        policy=Policy(saga=SagaPolicy()),
        sidecar=sidecar,
    )
