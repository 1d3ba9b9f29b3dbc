"""Gates around a node: revised, asked, refused; the node hears why, and nobody reads what did not pass."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from governance import Contract, Sidecar, SideEffect, Verdict, declares, govern
from governance.errors import GateRefused
from governance.gates import custom
from governance.plane.approvals import Principal

ANN = Principal("ann", "code")
long_enough = custom(lambda call, update: None if len(update["out"]) > 2 else f"{update['out']!r} is too short")


def growing(state: Any) -> Any:
    return {"out": "a" * (1 + sum(isinstance(m, HumanMessage) for m in state.get("messages", [])))}


def test_a_node_is_run_again_with_the_reason_until_it_passes(line: Any, sidecar: Sidecar, rows: Any) -> None:
    graph = line(n=growing, then=lambda state: {"other": state["out"]})
    govern(graph, contracts={"n": Contract(gates=[long_enough], attempts=5), "then": Contract()}, sidecar=sidecar)

    assert "aaa" == graph.invoke({"messages": [HumanMessage("go")]})["other"]
    assert ["'aa' is too short"] == [row.body["reason"] for row in rows("gate.revise")]


def test_when_revisions_run_out_the_node_is_refused_and_its_error_says_how_often(line: Any, sidecar: Sidecar) -> None:
    graph = govern(
        line(n=lambda state: {"out": "a"}), contracts={"n": Contract(gates=[long_enough], attempts=2)}, sidecar=sidecar
    )

    with pytest.raises(GateRefused, match="n was refused after 2 of 2 attempts: 'a' is too short"):
        graph.invoke({"out": ""})


def test_halt_refuses_at_once(line: Any, sidecar: Sidecar) -> None:
    gate = custom(lambda call, update: "never", otherwise="halt")
    graph = govern(line(n=growing), contracts={"n": Contract(gates=[gate], attempts=5)}, sidecar=sidecar)

    with pytest.raises(GateRefused, match="n was refused: never"):
        graph.invoke({"out": ""})


def test_a_gate_that_fails_has_not_passed(line: Any, sidecar: Sidecar) -> None:
    def broken(call: Any, update: Any) -> Verdict:
        raise KeyError("x")

    graph = govern(line(n=growing), contracts={"n": Contract(gates=[broken])}, sidecar=sidecar)

    with pytest.raises(GateRefused, match="the gate itself failed: KeyError: 'x'"):
        graph.invoke({"out": ""})


def test_gates_are_asked_in_order_and_the_first_that_objects_decides(line: Any, sidecar: Sidecar, rows: Any) -> None:
    asked: list[str] = []

    def gate(name: str, verdict: Verdict) -> Any:
        return lambda call, update: asked.append(name) or verdict

    gates = [gate("a", Verdict.passed("fine")), gate("b", Verdict.halt("no")), gate("c", Verdict.passed())]
    with pytest.raises(GateRefused, match="no"):
        govern(line(n=growing), contracts={"n": Contract(gates=gates)}, sidecar=sidecar).invoke({"out": ""})

    assert ["a", "b"] == asked
    assert ["gate.pass", "gate.halt"] == [row.kind for row in rows("gate")]


def test_a_gate_reads_the_whole_state_the_update_stands_on(line: Any, sidecar: Sidecar) -> None:
    seen: list[Any] = []
    gate = custom(lambda call, update: seen.append(call.read("other")))
    contract = Contract(reads=["out"], gates=[gate])
    govern(line(n=growing), contracts={"n": contract}, sidecar=sidecar).invoke({"out": "", "other": "evidence"})

    assert ["evidence"] == seen


def paying() -> tuple[Any, list[int]]:
    paid: list[int] = []

    @declares(SideEffect("write"))
    @tool
    def pay(amount: int) -> str:
        """Pays."""
        paid.append(amount)
        return "paid"

    return pay, paid


def test_a_node_that_finished_an_effect_is_refused_rather_than_run_again(line: Any, sidecar: Sidecar) -> None:
    pay, paid = paying()
    graph = line(n=lambda state: {"out": pay.invoke({"amount": len(paid)}) and "a"})
    govern(graph, contracts={"n": Contract(gates=[long_enough], attempts=5, tools=["pay"])}, sidecar=sidecar)

    with pytest.raises(GateRefused, match="after 1 of 5 attempts"):
        graph.invoke({"out": ""})
    assert [0] == paid


def test_an_effect_inside_a_nested_graph_counts_for_the_node_around_it(line: Any, sidecar: Sidecar) -> None:
    pay, paid = paying()
    inner = line(leaf=lambda state: {"out": pay.invoke({"amount": len(paid)}) and "a"})
    contracts = {"n": Contract(gates=[long_enough], attempts=5), "n/leaf": Contract(tools=["pay"])}
    graph = govern(line(n=lambda state: {"out": inner.invoke(state)["out"]}), contracts=contracts, sidecar=sidecar)

    with pytest.raises(GateRefused, match="after 1 of 5 attempts"):
        graph.invoke({"out": ""})
    assert [0] == paid


def asked(line: Any, sidecar: Sidecar, thread: Any, gate: Any = None) -> tuple[Any, dict[str, Any], list[int]]:
    """A run that waits for a person, its card, and how often its node ran."""
    runs: list[int] = []

    def node(state: Any) -> Any:
        runs.append(1)
        return {"out": f"proposal {len(runs)}"}

    gate = gate or custom(lambda call, update: "look at it", otherwise="escalate")
    graph = line(compiled={"checkpointer": InMemorySaver()}, n=node)
    govern(graph, contracts={"n": Contract(gates=[gate])}, sidecar=sidecar)
    card = graph.invoke({"out": ""}, thread)["__interrupt__"][0].value
    return graph, card, runs


def test_what_a_person_approved_is_what_is_committed(line: Any, sidecar: Sidecar, thread: Any, rows: Any) -> None:
    """The node is not run again to make something new that nobody saw."""
    graph, card, runs = asked(line, sidecar, thread)
    sidecar.approvals.decide(card["card"], "approve", by=ANN, reason="fine")

    assert "proposal 1" == graph.invoke(None, thread)["out"]
    assert [1] == runs
    assert {"out": "proposal 1"} == card["what"]["update"]
    assert ["approval.asked", "approval.committed"] == [row.kind for row in rows("approval")]


def test_what_a_person_edited_is_committed_instead(line: Any, sidecar: Sidecar, thread: Any) -> None:
    graph, card, _ = asked(line, sidecar, thread)
    sidecar.approvals.decide(card["card"], "edit", by=ANN, edited={"out": "edited"})

    assert "edited" == graph.invoke(None, thread)["out"]


def test_what_a_person_denied_is_refused_with_the_reason(line: Any, sidecar: Sidecar, thread: Any) -> None:
    from governance.errors import ApprovalDenied

    graph, card, _ = asked(line, sidecar, thread)
    sidecar.approvals.decide(card["card"], "deny", by=ANN, reason="too dear")

    with pytest.raises(ApprovalDenied, match="n was denied by code:ann: too dear"):
        graph.invoke(None, thread)


def test_an_interrupt_of_a_gate_is_no_failure_on_record(line: Any, sidecar: Sidecar, thread: Any, rows: Any) -> None:
    asked(line, sidecar, thread)

    assert ["node.begun", "node.interrupted"] == [row.kind for row in rows("node")]
