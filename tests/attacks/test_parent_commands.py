"""`Command(graph=Command.PARENT)`, the hand-off of agents: what a graph sends up is judged like its node's own update."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import ParentCommand
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send

from governance import Approval, Contract, Principal, Sidecar, Verdict, govern
from governance.errors import ApprovalDenied, ContractViolation, GateRefused, Refusal
from governance.gates import custom, schema

ALICE = Principal("alice", "local")
CAREFUL = Approval("careful")


class Team(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    out: str
    secret: str


def no_lie(call: Any, update: Any) -> str | None:
    return "a lie" if "lie" in str(update) else None


def handing_over(sidecar: Sidecar, contract: Contract, *, called: bool = False, **sent: Any) -> Any:
    """A graph whose node `a` is a graph that hands over to `b`; `called` in code, or as the node itself."""
    given = {"goto": "b", **sent}
    inner = StateGraph(Team).add_node("work", lambda s: Command(graph=Command.PARENT, **given))
    agent = inner.add_edge(START, "work").compile()
    node: Any = (lambda s: agent.invoke(s)) if called else agent
    outer = StateGraph(Team).add_node("a", node, destinations=("b",)).add_edge(START, "a")
    outer.add_node("b", lambda s: {"log": [f"b saw {s.get('out')}"]}).add_node("hidden", lambda s: {"log": ["hidden"]})
    contracts = {"a": contract, "a/*": Contract(), "b": Contract(), "hidden": Contract()}
    return govern(outer.compile(checkpointer=InMemorySaver()), contracts=contracts, sidecar=sidecar)


def run(graph: Any, thread: Any, mode: str = "sync") -> Any:
    return graph.invoke({"log": []}, thread) if mode == "sync" else asyncio.run(graph.ainvoke({"log": []}, thread))


@pytest.mark.parametrize("called", [False, True], ids=["node", "called"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_hand_over_that_is_allowed_arrives(mode: str, called: bool, sidecar: Sidecar, thread: Any) -> None:
    contract = Contract(writes=["out"], gates=[custom(no_lie)])
    graph = handing_over(sidecar, contract, called=called and mode == "sync", update={"out": "true"})

    ended = run(graph, thread, mode)

    assert {"out": "true", "log": ["b saw true"]} == ended


@pytest.mark.parametrize("called", [False, True], ids=["node", "called"])
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("update", [{"out": "lie"}, [("out", "lie")]], ids=["mapping", "pairs"])
def test_a_gate_sees_what_its_graph_sends_to_the_parent(
    update: Any, mode: str, called: bool, sidecar: Sidecar, thread: Any
) -> None:
    contract = Contract(writes=["out"], gates=[custom(no_lie, otherwise="halt")])
    graph = handing_over(sidecar, contract, called=called and mode == "sync", update=update)

    with pytest.raises(GateRefused, match="a lie"):
        run(graph, thread, mode)

    assert {"log": []} == graph.get_state(thread).values


def test_a_schema_holds_for_what_is_handed_over(sidecar: Sidecar, thread: Any) -> None:
    graph = handing_over(sidecar, Contract(gates=[schema("log", list[int])]), update={"log": ["x"]})

    with pytest.raises(GateRefused, match="log"):
        run(graph, thread)


def test_a_gate_may_send_the_graph_back_to_work(sidecar: Sidecar, thread: Any) -> None:
    tries: list[int] = []

    def twice(call: Any, update: Any) -> Verdict:
        tries.append(call.attempt)
        return Verdict.revise("once more") if len(tries) == 1 else Verdict.passed()

    graph = handing_over(sidecar, Contract(gates=[twice], attempts=2), update={"out": "true"})

    assert ("true", [1, 2]) == (run(graph, thread)["out"], tries)


@pytest.mark.parametrize("why", ["approval", "escalate"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_person_is_asked_about_a_hand_over(mode: str, why: str, sidecar: Sidecar, thread: Any) -> None:
    unsure = custom(lambda call, update: "unsure", otherwise="escalate")
    contract = Contract(approval=CAREFUL) if why == "approval" else Contract(gates=[unsure])
    graph = handing_over(sidecar, contract, update={"out": "true"})

    got = run(graph, thread, mode)

    assert "__interrupt__" in got
    assert "out" not in got


def test_what_was_approved_is_handed_over_without_running_again(sidecar: Sidecar, thread: Any, rows: Any) -> None:
    graph = handing_over(sidecar, Contract(approval=CAREFUL), update={"out": "true"})
    [asked] = run(graph, thread)["__interrupt__"]
    sidecar.approvals.decide(asked.id, "approve", by=ALICE)

    ended = graph.invoke(None, thread)

    assert {"out": "true", "log": ["b saw true"]} == ended
    assert 1 == sum("work" in row.path for row in rows("node.begun"))


def test_what_was_denied_goes_nowhere(sidecar: Sidecar, thread: Any) -> None:
    graph = handing_over(sidecar, Contract(approval=CAREFUL), update={"out": "true"})
    [asked] = run(graph, thread)["__interrupt__"]
    sidecar.approvals.decide(asked.id, "deny", by=ALICE, reason="no")

    with pytest.raises(ApprovalDenied):
        graph.invoke(None, thread)

    assert {"log": []} == graph.get_state(thread).values


@pytest.mark.parametrize("sent", [{"goto": "hidden"}, {"goto": [Send("hidden", {})]}, {"update": {"secret": "x"}}])
def test_a_hand_over_stays_within_keys_and_routes(sent: Any, sidecar: Sidecar, thread: Any) -> None:
    graph = handing_over(sidecar, Contract(writes=["out"]), **sent)

    with pytest.raises(ContractViolation):
        run(graph, thread)

    assert {"log": []} == graph.get_state(thread).values


def test_a_command_is_judged_by_the_node_it_is_meant_for_however_deep_it_comes_from(sidecar: Sidecar) -> None:
    """Sent by name, it leaves the graph in between, which writes nothing."""
    seen: list[str] = []

    def look(call: Any, update: Any) -> Verdict:
        seen.append(call.place)
        return Verdict.passed()

    def leave(state: Any) -> Any:
        raise ParentCommand(Command(graph="a", update={"out": "true"}))

    agent: Any = leave
    for name in ("work", "m", "a"):
        agent = StateGraph(Team).add_node(name, agent).add_edge(START, name).compile()
    graph = govern(agent, contracts={"*": Contract(gates=[look])}, sidecar=sidecar)

    assert ("true", ["a"]) == (graph.invoke({"log": []})["out"], seen)


@pytest.mark.parametrize(
    "judged", [Contract(gates=[custom(no_lie)]), Contract(approval=CAREFUL)], ids=["gate", "person"]
)
def test_a_graph_inside_a_router_cannot_write_past_the_gates_of_the_node(
    judged: Contract, sidecar: Sidecar, thread: Any
) -> None:
    """A router runs after its node was judged: what its graph sends up has nobody left to look at it."""
    inner = StateGraph(Team).add_node("work", lambda s: Command(graph=Command.PARENT, update={"out": "lie"}))
    agent = inner.add_edge(START, "work").compile()
    outer = StateGraph(Team).add_node("a", lambda s: {}).add_node("b", lambda s: {}).add_edge(START, "a")
    outer.add_conditional_edges("a", lambda s: agent.invoke(s) and "b", ["b"])
    graph = govern(
        outer.compile(checkpointer=InMemorySaver()), contracts={"*": Contract(), "a": judged}, sidecar=sidecar
    )
    if judged.approval is not None:
        [asked] = run(graph, thread)["__interrupt__"]
        sidecar.approvals.decide(asked.id, "approve", by=ALICE)

    with pytest.raises(Refusal):
        graph.invoke(None if judged.approval is not None else {"log": []}, thread)

    assert "out" not in graph.get_state(thread).values


def test_a_filter_of_your_own_sees_what_is_handed_over(sidecar: Sidecar) -> None:
    seen: list[Any] = []

    def look(call: Any) -> Any:
        return lambda call, update: (seen.append(update) if call.place == "a" else None, update)[1]

    inner = StateGraph(Team).add_node("work", lambda s: Command(graph=Command.PARENT, update={"out": "true"}))
    outer = StateGraph(Team).add_node("a", inner.add_edge(START, "work").compile()).add_edge(START, "a").compile()

    govern(outer, contracts={"*": Contract()}, filters=[look], sidecar=sidecar).invoke({"log": []})

    assert [Command(update={"out": "true"})] == seen


def test_an_observed_graph_hands_over_as_ever(sidecar: Sidecar) -> None:
    inner = StateGraph(Team).add_node("work", lambda s: Command(graph=Command.PARENT, update={"out": "true"}, goto="b"))
    outer = StateGraph(Team).add_node("a", inner.add_edge(START, "work").compile(), destinations=("b",))
    outer.add_node("b", lambda s: {"log": ["b"]}).add_edge(START, "a")

    assert {"out": "true", "log": ["b"]} == govern(outer.compile(), sidecar=sidecar).invoke({"log": []})
