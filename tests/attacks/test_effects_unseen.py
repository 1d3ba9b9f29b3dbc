"""Ends of effects that nobody saw are never guessed."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from governance import Contract, SideEffect, declares
from governance.errors import (
    DeadlineExceeded,
    EffectInDoubt,
    GovernanceError,
)
from tests.attacks.answers import CONFIG
from tests.attacks.tills import EXTERNAL, MAY, PATIENT, Till, rewound, stumbling
from tests.fixtures import calling


def test_who_swallows_a_doubt_goes_on_with_nothing(ruled: Any, line: Any) -> None:
    till = Till(during=stumbling())

    def node(state: Any) -> Any:
        with suppress(EffectInDoubt):
            till.pay.invoke({"amount": 5})
        return {"out": "all is well"}

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY)
    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""}, CONFIG)
    for _ in range(2):
        with pytest.raises(EffectInDoubt):
            graph.invoke(None, CONFIG)

    assert "" == graph.get_state(CONFIG).values["out"]
    assert [5] == till.paid


def test_a_tool_that_swallows_a_doubt_hands_over_nothing(ruled: Any, line: Any) -> None:
    till = Till(during=stumbling())

    def pays() -> str:
        """Pay by another tool."""
        with suppress(EffectInDoubt):
            return str(till.pay.invoke({"amount": 5}))
        return "all is well"

    outer = StructuredTool.from_function(pays, name="outer")
    tools = ToolNode([outer], handle_tool_errors=True)
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, t=tools), contracts=MAY)
    with suppress(Exception):
        graph.invoke({"messages": [calling(("outer", {}))]}, CONFIG)
    with pytest.raises(EffectInDoubt):
        rewound(graph, "t")

    assert [5] == till.paid


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_an_effect_cut_off_by_no_ordinary_error_is_in_doubt(error: type, ruled: Any, line: Any) -> None:
    def cut() -> None:
        if len(till.paid) == 1:
            raise error("now")

    till = Till(during=cut)
    graph = ruled(
        line(compiled={"checkpointer": InMemorySaver()}, n=lambda s: {"out": till.pay.invoke({"amount": 5})}),
        contracts=MAY,
    )
    with suppress(BaseException):
        graph.invoke({"out": ""}, CONFIG)
    with pytest.raises(EffectInDoubt):
        graph.invoke(None, CONFIG)

    assert [5] == till.paid


def test_an_effect_that_asyncio_cancels_in_flight_is_in_doubt(ruled: Any, line: Any) -> None:
    at_work = threading.Event()
    till = Till(during=lambda: at_work.set() or time.sleep(0.2))

    async def node(state: Any) -> Any:
        return {"out": await till.pay.ainvoke({"amount": 5})}

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY)

    async def cancelled() -> None:
        task = asyncio.create_task(graph.ainvoke({"out": ""}, CONFIG))
        await asyncio.to_thread(at_work.wait, 5)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    with pytest.raises(EffectInDoubt):
        asyncio.run(graph.ainvoke(None, CONFIG))

    assert [5] == till.paid


def test_an_effect_that_outlives_its_deadline_is_found_by_the_next_run(ruled: Any, line: Any) -> None:
    till = Till(during=lambda: time.sleep(0.5))
    contract = Contract(tools=["pay"], timeout=0.2)
    graph = ruled(
        line(compiled={"checkpointer": InMemorySaver()}, n=lambda s: {"out": till.pay.invoke({"amount": 5})}),
        contracts={"n": contract},
    )
    with pytest.raises(DeadlineExceeded):
        graph.invoke({"out": ""}, CONFIG)
    time.sleep(0.7)
    with suppress(GovernanceError):  # in doubt or found, as long as nothing is done again
        graph.invoke(None, CONFIG)

    assert [5] == till.paid


@pytest.mark.parametrize("how", ["a deadline", "a cancellation"])
def test_what_was_left_at_work_is_not_looked_up_before_it_ends(how: str, ruled: Any, line: Any) -> None:
    """It does its work after the look, and who looked in between would do it again."""
    done: list[int] = []
    may_end, began = threading.Event(), threading.Event()

    def slow(amount: int) -> str:
        """Pay, late."""
        began.set()
        may_end.wait(5)
        done.append(amount)
        return f"paid {amount}"

    looking = SideEffect("external", reconcile=lambda args: f"paid {args['amount']}" if done else None)
    pay = declares(looking)(StructuredTool.from_function(slow, name="pay"))

    async def node(state: Any) -> Any:
        return {"out": await pay.ainvoke({"amount": 5})}

    hurried = Contract(tools=["pay"], timeout=0.3 if how == "a deadline" else None)
    saver = {"checkpointer": InMemorySaver()}
    hasty, graph = (ruled(line(compiled=saver, n=node), contracts={"n": one}) for one in (hurried, MAY["*"]))

    async def first() -> str:
        task = asyncio.create_task(hasty.ainvoke({"out": ""}, CONFIG))
        await asyncio.to_thread(began.wait, 5)
        if how == "a cancellation":
            task.cancel()
        with suppress(asyncio.CancelledError, DeadlineExceeded):
            await task
        threading.Timer(1, may_end.set).start()
        return str((await graph.ainvoke(None, CONFIG))["out"])

    assert "paid 5" == asyncio.run(first())
    assert [5] == done


@dataclasses.dataclass
class Receipt:
    number: int


OUTCOMES: dict[str, Callable[[], Any]] = {
    "a dataclass": lambda: Receipt(7),
    "a set": lambda: {1, 2},
    "bytes": lambda: b"7",
    "nothing": lambda: None,
}


@pytest.mark.parametrize("what", list(OUTCOMES))
def test_an_outcome_that_is_found_again_is_what_it_was(what: str, ruled: Any, line: Any) -> None:
    done: list[int] = []
    make = lambda: done.append(1) or OUTCOMES[what]()
    pay, seen = declares(EXTERNAL)(StructuredTool.from_function(make, name="pay", description="Pay.")), []

    def node(state: Any) -> None:
        seen.append(pay.invoke({}))
        interrupt("?")

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    graph.invoke(Command(resume="."), CONFIG)

    assert (repr(seen[0]), type(seen[0]), [1]) == (repr(seen[1]), type(seen[1]), done)


def test_an_outcome_that_cannot_be_kept_is_no_reason_to_do_it_again(ruled: Any, line: Any) -> None:
    done: list[int] = []
    make = lambda: done.append(1) or threading.Lock()
    pay = declares(EXTERNAL)(StructuredTool.from_function(make, name="pay", description="Pay."))
    node = lambda s: {"out": str(pay.invoke({}))}
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=(node, {"retry_policy": PATIENT})), contracts=MAY)
    for given in ({"out": ""}, None):
        with suppress(Exception):
            graph.invoke(given, CONFIG)

    assert [1] == done


def test_a_tool_that_asks_after_it_acted_and_can_be_looked_up_does_not_act_again(ruled: Any, line: Any) -> None:
    looking = SideEffect("external", reconcile=lambda args: "looked up")
    till = Till(looking, during=lambda: interrupt("was that right?"))
    graph = ruled(
        line(compiled={"checkpointer": InMemorySaver()}, n=lambda s: {"out": till.pay.invoke({"amount": 5})}),
        contracts=MAY,
    )
    graph.invoke({"out": ""}, CONFIG)

    assert "looked up" == graph.invoke(Command(resume="yes"), CONFIG)["out"]
    assert [5] == till.paid


def retried(till: Till, *amounts: int) -> Any:
    """A node whose own code tries again what failed."""

    def node(state: Any) -> Any:
        for amount in amounts:
            with suppress(ConnectionError):
                return {"out": till.pay.invoke({"amount": amount})}
        return None

    return node


def test_code_that_tries_an_effect_again_does_not_do_it_again(ruled: Any, line: Any) -> None:
    """The second call has an ordinal of its own, but it is the same payment."""
    till = Till(during=stumbling())

    with pytest.raises(EffectInDoubt, match="pay began earlier and nobody saw how it ended"):
        ruled(line(n=retried(till, 5, 5)), contracts=MAY).invoke({"out": ""}, CONFIG)
    assert [5] == till.paid


def test_code_that_tries_again_what_can_be_looked_up_is_told(ruled: Any, line: Any) -> None:
    till = Till(SideEffect("external", reconcile=lambda args: "looked up"), during=stumbling())

    assert "looked up" == ruled(line(n=retried(till, 5, 5)), contracts=MAY).invoke({"out": ""}, CONFIG)["out"]
    assert [5] == till.paid


def test_another_effect_after_one_in_doubt_is_another(ruled: Any, line: Any) -> None:
    till = Till(during=stumbling())

    assert "paid 6" == ruled(line(n=retried(till, 5, 6)), contracts=MAY).invoke({"out": ""}, CONFIG)["out"]
    assert [5, 6] == till.paid
