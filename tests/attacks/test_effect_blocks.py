"""Blocks of code that is no tool: left in the middle, with other arguments, without a question."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from governance import Contract, SideEffect, effect
from governance.errors import (
    EffectInDoubt,
    GovernanceError,
)
from tests.attacks.answers import CONFIG
from tests.attacks.tills import Till, rewound

CHARGE = {"*": Contract(tools=["charge"])}


@pytest.mark.parametrize("how", ["an error", "a question", "an interrupt from the keyboard", "a way out"])
def test_a_block_that_is_left_in_the_middle_is_not_done_again(how: str, ruled: Any, line: Any) -> None:
    done: list[int] = []

    def leave() -> None:
        if len(done) > 1:
            return
        if how == "an error":
            raise ConnectionError("weather")
        if how == "a question":
            interrupt("was that right?")
        if how == "an interrupt from the keyboard":
            raise KeyboardInterrupt

    def node(state: Any) -> Any:
        does = SideEffect("external", reconcile=lambda args: "looked up")
        with effect("charge", {"invoice": 7}, does=does) as charge:
            if charge.fresh:
                done.append(7)
                leave()
                if how == "a way out" and len(done) == 1:
                    return None
                charge.outcome = "charged"
        return {"out": str(charge.outcome)}

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node, m=lambda s: {}), contracts=CHARGE)
    with suppress(BaseException):
        graph.invoke({"out": ""}, CONFIG)
    graph.invoke(Command(resume="yes") if how == "a question" else None, CONFIG)
    with suppress(EffectInDoubt):
        rewound(graph, "n")

    assert [7] == done


def test_a_block_whose_arguments_are_others_the_second_time_is_for_a_person(ruled: Any, line: Any) -> None:
    done: list[int] = []
    invoices = iter([7, 8])

    def node(state: Any) -> None:
        with effect("charge", {"invoice": next(invoices)}) as charge:
            if charge.fresh:
                done.append(charge.args["invoice"])
        interrupt("?")

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=CHARGE)
    graph.invoke({"out": ""}, CONFIG)
    with pytest.raises(EffectInDoubt):
        graph.invoke(Command(resume="."), CONFIG)

    assert [7] == done


def test_a_block_that_does_not_ask_stops_before_it_can_be_done_again(ruled: Any, line: Any) -> None:
    done: list[int] = []

    def node(state: Any) -> None:
        with effect("charge", {"invoice": 7}) as charge:
            done.append(7)
            charge.outcome = "charged"
        interrupt("?")

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=CHARGE)
    for given in ({"out": ""}, None, None):
        with pytest.raises(GovernanceError):
            graph.invoke(given, CONFIG)

    assert 1 == len(done), "a block that never asks is done at each run"


def test_a_tool_called_in_a_block_has_a_place_of_its_own(ruled: Any, line: Any) -> None:
    till = Till()

    def node(state: Any) -> None:
        till.pay.invoke({"amount": 1})
        with effect("charge", {"invoice": 7}) as charge:
            if charge.fresh:
                charge.outcome = till.pay.invoke({"amount": 2})
        till.pay.invoke({"amount": 3})
        interrupt("?")

    contracts = {"*": Contract(tools=["charge", "pay"])}
    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=contracts)
    graph.invoke({"out": ""}, CONFIG)
    graph.invoke(Command(resume="."), CONFIG)

    assert [1, 2, 3] == till.paid
