"""`with effect(...)`: effects of code that is no tool happen once, are authorised, and say how they ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, RetryPolicy, interrupt

from governance import Approval, Contract, Principal, Sidecar, SideEffect, Tool, at_most, effect, govern
from governance.errors import AuthorityRefused, ContractViolation, EffectInDoubt

MAY = {"n": Contract(tools=["charge"])}
RETRIED = {"retry_policy": RetryPolicy(initial_interval=0, jitter=False, retry_on=ConnectionError)}


def charged(done: list[int], amount: int = 7) -> str:
    with effect("charge", {"amount": amount}) as charge:
        if charge.fresh:
            done.append(charge.args["amount"])
            charge.outcome = f"receipt {charge.args['amount']}"
    return str(charge.outcome)


def test_a_block_that_ran_is_found_again_when_its_node_runs_again(one: Any, sidecar: Sidecar, thread: Any) -> None:
    done: list[int] = []
    graph = one(lambda state: {"out": charged(done) + interrupt("?")}, checkpointer=InMemorySaver())
    govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": ""}, thread)

    assert "receipt 7!" == graph.invoke(Command(resume="!"), thread)["out"]
    assert [7] == done


def test_a_block_in_async_code_happens_once_too(one: Any, sidecar: Sidecar, thread: Any) -> None:
    done: list[int] = []

    async def node(state: Any) -> Any:
        async with effect("charge", {"amount": 7}) as charge:
            if charge.fresh:
                done.append(7)
                charge.outcome = "receipt"
        return {"out": charge.outcome + interrupt("?")}

    async def twice() -> Any:
        graph = govern(one(node, checkpointer=InMemorySaver()), contracts=MAY, sidecar=sidecar)
        await graph.ainvoke({"out": ""}, thread)
        return await graph.ainvoke(Command(resume="!"), thread)

    assert "receipt!" == asyncio.run(twice())["out"]
    assert [7] == done


def test_a_block_that_the_contract_does_not_name_does_not_begin(one: Any, sidecar: Sidecar) -> None:
    done: list[int] = []
    graph = govern(one(lambda state: {"out": charged(done)}), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="n may not call charge; its contract allows: none"):
        graph.invoke({"out": ""})
    assert [] == done


def test_the_arguments_of_a_block_are_held_to_the_rule(one: Any, sidecar: Sidecar) -> None:
    done: list[int] = []
    may = {"n": Contract(tools=[Tool("charge", where={"amount": at_most(5)})])}
    graph = govern(one(lambda state: {"out": charged(done)}), contracts=may, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="must be a number up to 5, not 7"):
        graph.invoke({"out": ""})
    assert [] == done


def test_a_person_may_edit_what_a_block_is_about_to_do(one: Any, sidecar: Sidecar, thread: Any) -> None:
    done: list[int] = []
    may = {"n": Contract(tools=[Tool("charge", approval=Approval())])}
    graph = one(lambda state: {"out": charged(done)}, checkpointer=InMemorySaver())
    govern(graph, contracts=may, sidecar=sidecar).invoke({"out": ""}, thread)
    (card,) = sidecar.approvals.cards()
    sidecar.approvals.decide(card.id, "edit", by=Principal("ann", "local"), edited={"amount": 3})

    assert "receipt 3" == graph.invoke(None, thread)["out"]
    assert [3] == done


def test_a_block_that_failed_is_in_doubt(one: Any, sidecar: Sidecar) -> None:
    def node(state: Any) -> None:
        with effect("charge") as charge:
            if charge.fresh:
                raise ConnectionError("nobody knows")

    with pytest.raises(EffectInDoubt, match="charge began earlier and nobody saw how it ended"):
        govern(one(node, options=RETRIED), contracts=MAY, sidecar=sidecar).invoke({"out": ""})


def test_a_block_that_is_harmless_to_repeat_is_repeated(one: Any, sidecar: Sidecar) -> None:
    tried: list[int] = []

    def node(state: Any) -> Any:
        with effect("charge", does=SideEffect("write", idempotent=True)) as charge:
            if charge.fresh:
                tried.append(1)
                if len(tried) == 1:
                    raise ConnectionError("nobody knows")
        return {"out": str(charge.outcome)}

    assert "None" == govern(one(node, options=RETRIED), contracts=MAY, sidecar=sidecar).invoke({"out": ""})["out"]
    assert [1, 1] == tried


def test_a_block_that_does_not_ask_is_refused_the_first_time_it_runs(one: Any, sidecar: Sidecar) -> None:
    def node(state: Any) -> None:
        with effect("charge") as charge:
            charge.outcome = "done"

    with pytest.raises(ContractViolation, match="write `if charge.fresh:` around what it does"):
        govern(one(node), contracts=MAY, sidecar=sidecar).invoke({"out": ""})


def test_a_question_within_a_block_waits_for_its_answer(one: Any, sidecar: Sidecar, thread: Any) -> None:
    """Nothing had happened when the block asked, so the same block, run again, is the first."""
    done: list[str] = []

    def node(state: Any) -> Any:
        with effect("charge") as charge:
            if charge.fresh:
                done.append(interrupt("really?"))
                charge.outcome = "done"
        return {"out": charge.outcome}

    graph = govern(one(node, checkpointer=InMemorySaver()), contracts=MAY, sidecar=sidecar)
    graph.invoke({"out": ""}, thread)

    assert "done" == graph.invoke(Command(resume="yes"), thread)["out"]
    assert ["yes"] == done


def test_a_block_outside_of_a_governed_node_simply_runs() -> None:
    done: list[int] = []

    assert ["receipt 7", "receipt 7"] == [charged(done), charged(done)]
    assert [7, 7] == done


def test_what_a_block_did_is_on_record(one: Any, sidecar: Sidecar, rows: Any) -> None:
    govern(one(lambda state: {"out": charged([])}), contracts=MAY, sidecar=sidecar).invoke({"out": ""})

    assert ["effect.intent", "effect.finished", "tool.ended"] == [r.kind for r in rows() if r.kind[0] in "et"]
