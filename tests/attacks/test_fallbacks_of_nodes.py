"""Code that stands in for a node may do what the node may, once the node cannot any more, and pays for it."""

from __future__ import annotations

import asyncio
import threading
from itertools import product
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.types import RetryPolicy

from governance import Contract, Sidecar, SideEffect, declares, govern, isolated
from governance.errors import AuthorityRefused, ContractViolation, GateRefused, Refusal
from governance.gates import custom

AWAY = ConnectionError("nobody there")


def boom(state: Any) -> Any:
    raise ValueError("boom")


def run(graph: Any, how: str = "invoke", config: Any = None) -> Any:
    return asyncio.run(graph.ainvoke({"out": ""}, config)) if how.startswith("a") else graph.invoke({"out": ""}, config)


async def acode(state: Any) -> Any:
    return {"out": "instead"}


CODE: dict[str, Any] = {
    "a function": lambda state: {"out": "instead"},
    "a coroutine": acode,
    "an update": {"out": "instead"},
    "a node": "spare",
}


@pytest.mark.parametrize(
    ("what", "mode"), [*product(CODE, ["async"]), *product(sorted(CODE.keys() - {"a coroutine"}), ["sync"])]
)
def test_other_code_answers_for_a_node(what: str, mode: str, sidecar: Sidecar, line: Any, rows: Any) -> None:
    graph = line(n=boom, spare=lambda state: {"out": "instead"})
    graph = govern(graph, contracts={"n": Contract(fallback=CODE[what]), "spare": Contract()}, sidecar=sidecar)

    assert "instead" == run(graph, "ainvoke" if mode == "async" else "invoke")["out"]
    assert [("n", "ValueError")] == [(row.body["from"], row.body["reason"]) for row in rows("fallback.used")]


def test_what_stands_in_for_a_node_writes_what_the_node_may(put: Any) -> None:
    graph = put(boom, Contract(writes=["out"], fallback={"amount": 5}))

    with pytest.raises(ContractViolation, match="'amount', which it does not own"):
        graph.invoke({"out": ""})


def test_what_stands_in_for_a_node_calls_what_the_node_may(put: Any, till: Any) -> None:
    graph = put(boom, Contract(tools=["lookup"], fallback=lambda state: {"out": till.refund.invoke({"amount": 5})}))

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})
    assert [] == till.done


def test_what_stands_in_for_a_node_sees_what_the_node_may(put: Any) -> None:
    graph = put(boom, Contract(reads=["amount"], fallback=lambda state: {"out": " ".join(sorted(state))}))

    assert "amount" == graph.invoke({"out": "", "secret": "s", "amount": 1})["out"]


def test_what_stands_in_for_a_node_passes_its_gates(put: Any) -> None:
    words = iter(["bad", "good"])
    gate = custom(lambda call, update: None if "good" in str(update) else "say something good")
    graph = put(boom, Contract(gates=[gate], attempts=4, fallback=lambda state: {"out": next(words)}))

    assert "good" == graph.invoke({"out": ""})["out"]

    graph = put(boom, Contract(gates=[gate], attempts=3, fallback={"out": "bad"}))
    with pytest.raises(GateRefused):
        graph.invoke({"out": ""})


def test_it_comes_after_the_last_attempt(put: Any) -> None:
    ran: list[str] = []

    def node(state: Any) -> Any:
        ran.append("node")
        raise ConnectionError("weather")

    patient = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False)
    contract = Contract(fallback=lambda state: ran.append("instead"))
    put(node, contract, options={"retry_policy": patient}).invoke({"out": ""})

    assert ["node"] * 3 + ["instead"] == ran


def test_nothing_stands_in_for_what_was_refused(put: Any, till: Any) -> None:
    ran: list[str] = []
    graph = put(lambda state: till.refund.invoke({"amount": 5}), Contract(fallback=lambda state: ran.append("x")))

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})
    assert [] == ran


def test_nothing_stands_in_for_a_node_that_left_an_effect_in_doubt(put: Any, rows: Any) -> None:
    """Other code could pay a second time, by another tool."""
    ran: list[str] = []

    @declares(SideEffect("write"))
    @tool
    def pay(amount: int) -> str:
        """Pays, perhaps."""
        raise AWAY

    contract = Contract(tools=["pay"], fallback=lambda state: ran.append("x"))
    with pytest.raises(ConnectionError):
        put(lambda state: pay.invoke({"amount": 5}), contract).invoke({"out": ""})

    assert [] == ran
    assert ["the node left an effect in doubt, which other code might do again"] == [
        row.body["reason"] for row in rows("fallback.refused")
    ]


def test_an_effect_of_the_node_is_not_done_again_in_its_place(put: Any, till: Any) -> None:
    def node(state: Any) -> Any:
        till.refund.invoke({"amount": 5})
        raise ValueError("boom")

    contract = Contract(tools=["refund"], fallback=lambda state: {"out": till.refund.invoke({"amount": 5})})

    assert "refund 5" == put(node, contract).invoke({"out": ""})["out"]
    assert [("refund", 5)] == till.done


def test_where_that_fails_too_the_node_is_isolated(sidecar: Sidecar, line: Any) -> None:
    def worse(state: Any) -> Any:
        raise KeyError("worse")

    read: list[Any] = []
    graph = line(n=boom, join=lambda state: read.extend(isolated()))
    contracts = {"n": Contract(fallback=worse, on_failure="isolate"), "join": Contract(reads_failures=True)}
    govern(graph, contracts=contracts, sidecar=sidecar).invoke({"out": ""})

    assert [("KeyError", 2)] == [(one.error, one.attempts) for one in read]


def test_a_node_pays_for_what_stands_in_for_it(put: Any, rows: Any) -> None:
    ran: list[int] = []
    rules = "[retries]\nattempts = 1\nratio = 0.1\nburst = 2\n"
    graph = put(boom, Contract(fallback=lambda state: ran.append(1)), rules)
    ended = [outcome(graph) for _ in range(30)]

    assert len(ran) == ended.count("") <= 2 + 0.1 * 30
    assert 30 - len(ran) == len(rows("fallback.refused"))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_node_that_was_replaced_for_being_late_does_nothing_more(mode: str, put: Any, till: Any) -> None:
    opened, left = threading.Event(), threading.Event()
    late: list[str] = []

    def hangs(state: Any) -> Any:
        opened.wait(60)
        try:
            till.refund.invoke({"amount": 5})
        except Refusal as refusal:
            late.append(refusal.code)
        finally:
            left.set()

    graph = put(hangs, Contract(tools=["refund"], timeout=0.3, fallback={"out": "sorry"}))

    async def arun() -> Any:
        result = await graph.ainvoke({"out": ""})
        opened.set()
        assert await asyncio.to_thread(left.wait, 60)
        return result

    result = asyncio.run(arun()) if mode == "async" else graph.invoke({"out": ""})
    opened.set()

    assert left.wait(60)
    assert ("sorry", ["deadline"], []) == (result["out"], late, till.done)


def test_a_fixed_update_costs_nothing(put: Any) -> None:
    graph = put(boom, Contract(fallback={"out": "sorry"}), "[retries]\nattempts = 1\nratio = 0.1\nburst = 1\n")

    assert ["sorry"] * 10 == [graph.invoke({"out": ""})["out"] for _ in range(10)]


def outcome(graph: Any) -> str:
    try:
        graph.invoke({"out": ""})
    except Exception as error:
        return type(error).__name__
    return ""
