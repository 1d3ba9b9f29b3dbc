"""Side effects happen once: at a retry, at a resume, with other arguments, after an end nobody saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, RetryPolicy, interrupt

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import EffectInDoubt

RETRIED = {"retry_policy": RetryPolicy(initial_interval=0, jitter=False, retry_on=ConnectionError)}
MAY = {"n": Contract(tools=["pay"])}


class Bank:
    """A tool that pays, and what it paid."""

    def __init__(self, effect: SideEffect, *, fails: int = 0) -> None:
        self.paid: list[int] = []

        @declares(effect)
        @tool
        def pay(amount: int) -> str:
            """Pays."""
            self.paid.append(amount)
            if len(self.paid) <= fails:
                raise ConnectionError("nobody knows")
            return f"paid {amount}"

        self.tool = pay


def once(then: Callable[[], None]) -> Callable[[], None]:
    done: list[int] = []

    def first() -> None:
        if not done:
            done.append(1)
            then()

    return first


def fail() -> None:
    raise ConnectionError("after the effect")


def test_a_retried_node_finds_what_it_did(line: Any, sidecar: Sidecar, rows: Any) -> None:
    bank, stumble = Bank(SideEffect("write")), once(fail)

    def node(state: Any) -> Any:
        found = bank.tool.invoke({"amount": 5})
        stumble()
        return {"out": found}

    graph = govern(line(n=(node, RETRIED)), contracts=MAY, sidecar=sidecar)

    assert "paid 5" == graph.invoke({"out": ""})["out"]
    assert [5] == bank.paid
    kinds = [row.kind for row in rows("effect")]
    assert ["effect.intent", "effect.finished", "effect.intent", "effect.reused"] == kinds


def test_a_resumed_node_finds_what_it_did(line: Any, sidecar: Sidecar, thread: Any) -> None:
    bank = Bank(SideEffect("write"))

    def node(state: Any) -> Any:
        return {"out": bank.tool.invoke({"amount": 5}) + interrupt("?")}

    graph = govern(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)

    assert "paid 5!" == graph.invoke(Command(resume="!"), thread)["out"]
    assert [5] == bank.paid


def test_two_calls_in_one_execution_are_two_effects(line: Any, sidecar: Sidecar) -> None:
    bank = Bank(SideEffect("write"))
    graph = line(n=lambda state: {"out": bank.tool.invoke({"amount": 5}) + bank.tool.invoke({"amount": 5})})
    govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""})

    assert [5, 5] == bank.paid


def test_other_arguments_at_a_finished_place_are_for_a_person(line: Any, sidecar: Sidecar) -> None:
    bank, stumble = Bank(SideEffect("write")), once(fail)

    def node(state: Any) -> Any:
        found = bank.tool.invoke({"amount": 5 + len(bank.paid)})
        stumble()
        return {"out": found}

    graph = govern(line(n=(node, RETRIED)), contracts=MAY, sidecar=sidecar)

    with pytest.raises(
        EffectInDoubt, match="pay was already called here with other arguments; decide with `sidecar effects settle"
    ):
        graph.invoke({"out": ""})
    assert [5] == bank.paid


def test_an_effect_that_failed_half_way_is_never_guessed(line: Any, sidecar: Sidecar) -> None:
    bank = Bank(SideEffect("write"), fails=1)
    graph = line(n=(lambda state: {"out": bank.tool.invoke({"amount": 5})}, RETRIED))

    with pytest.raises(
        EffectInDoubt, match="pay began earlier and nobody saw how it ended; look, then settle it with `sidecar effects"
    ):
        govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""})
    assert [5] == bank.paid


def test_an_idempotent_effect_is_simply_repeated(line: Any, sidecar: Sidecar) -> None:
    bank = Bank(SideEffect("write", idempotent=True), fails=1)
    graph = line(n=(lambda state: {"out": bank.tool.invoke({"amount": 5})}, RETRIED))

    assert "paid 5" == govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""})["out"]


@pytest.mark.parametrize(("found", "expected"), [("found it", [5]), (None, [5, 5])])
def test_reconcile_looks_before_anything_is_repeated(
    found: str | None, expected: list[int], line: Any, sidecar: Sidecar
) -> None:
    bank = Bank(SideEffect("write", reconcile=lambda args: found), fails=1)
    graph = line(n=(lambda state: {"out": bank.tool.invoke({"amount": 5})}, RETRIED))

    assert (found or "paid 5") == govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""})["out"]
    assert expected == bank.paid


def test_arguments_that_do_not_fit_the_tool_leave_no_doubt(line: Any, sidecar: Sidecar) -> None:
    """Nothing began, so the next attempt is a first one."""
    bank, seen = Bank(SideEffect("write")), []

    def node(state: Any) -> Any:
        try:
            bank.tool.invoke({"amount": "many"})
        except Exception as error:
            seen.append(type(error).__name__)
        return {"out": "x"}

    govern(line(n=node), contracts=MAY, sidecar=sidecar).invoke({"out": ""})
    with sidecar.control.transaction() as db:
        assert 0 == db.execute("SELECT count(*) FROM effects").fetchone()[0]
    assert ["ValidationError"] == seen


@pytest.mark.parametrize("effect", [SideEffect("read"), None])
def test_reads_leave_no_trace_in_the_control_file(effect: SideEffect | None, line: Any, sidecar: Sidecar) -> None:
    bank = Bank(effect or SideEffect("read"))
    graph = line(n=lambda state: {"out": bank.tool.invoke({"amount": 5})})
    govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""})

    with sidecar.control.transaction() as db:
        assert 0 == db.execute("SELECT count(*) FROM effects").fetchone()[0]


def test_a_contract_may_declare_the_effect_of_a_tool_that_declares_none(line: Any, sidecar: Sidecar, rows: Any) -> None:
    @tool
    def pay(amount: int) -> str:
        """Pays."""
        return "paid"

    contract = Contract(tools=["pay"], effects={"pay": SideEffect("write", key="pay:{amount}")})
    graph = govern(line(n=lambda state: {"out": pay.invoke({"amount": 5})}), contracts={"n": contract}, sidecar=sidecar)
    graph.invoke({"out": ""})

    assert ["pay:5"] == [row.body["business"] for row in rows("effect.intent")]


def test_the_intent_is_on_disk_before_the_effect_begins(line: Any, sidecar: Sidecar) -> None:
    from governance.plane.ledger import Ledger

    seen: list[int] = []

    @declares(SideEffect("write"))
    @tool
    def pay(amount: int) -> str:
        """Pays."""
        head = Ledger(sidecar.ledger.path).head("t")
        seen.append(head.n if head else 0)
        return "paid"

    graph = govern(line(n=lambda state: {"out": pay.invoke({"amount": 5})}), contracts=MAY, sidecar=sidecar)
    graph.invoke({"out": ""}, {"configurable": {"thread_id": "t"}})

    assert [2] == seen
