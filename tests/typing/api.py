"""Never run, only type-checked, as a user's own code would be: the public API keeps its types."""

# LangGraph's own methods are partly untyped; what is checked here is ours.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from typing import Any, TypedDict, assert_type

from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from governance import (
    Approval,
    Cached,
    Call,
    Card,
    Compensated,
    Context,
    Contract,
    Filter,
    Flow,
    Hold,
    NodeCall,
    NodeFailure,
    Plain,
    Policy,
    Principal,
    Proceed,
    Run,
    Sidecar,
    SideEffect,
    Sleep,
    Tool,
    ToolCall,
    Verdict,
    at_least,
    at_most,
    compensate,
    coverage,
    declares,
    from_state,
    govern,
    isolated,
    load_policy,
    matches,
    one_of,
    operator,
)
from governance.errors import GovernanceError, Refusal
from governance.gates import Gate, custom, grounded, schema


class State(TypedDict):
    out: str


def node(state: State) -> State:
    return {"out": state["out"]}


builder = StateGraph(State)
builder.add_node("n", node)
builder.add_edge(START, "n")
compiled = builder.compile()


# The graph that comes back has the type of the graph that went in.
observed = govern(compiled)
assert_type(observed, CompiledStateGraph[State, None, State, State])
governed: CompiledStateGraph[State, None, State, State] = govern(
    compiled,
    contracts={
        "n": Contract(
            context=Context(tokens=8_000, history=4_000, summary=0.2),
            reads=["out"],
            writes={"out": str},
            tools=[
                "look",
                Tool(
                    "refund",
                    where={
                        "amount": at_most(50),
                        "order": from_state("out"),
                        "id": matches("[a-z]+"),
                        "kind": one_of("a", "b"),
                        "days": at_least(1),
                    },
                    approval=Approval("money", expires=60, by=frozenset({"ann"})),
                    refusals="answer",
                ),
            ],
            gates=[schema("out", str)],
            attempts=2,
            tokens=100,
            timeout=5,
            hosts=["example.org"],
            waives=["types"],
            fallback={"out": "sorry"},
            fallbacks={"gpt-5": [Cached(60, shared=True), Plain("not now")]},
            on_failure="isolate",
            failure_route="m",
            reads_failures=True,
        ),
        "legacy": Contract.observe(reason="until we know it"),
    },
    policy="sidecar.toml",
    mode="strict",
    sidecar=Sidecar(ledger="ledger.db"),
    filters=[],
    doors="open",
)
assert_type(coverage(governed).mode, str)
assert_type(isolated(), tuple[NodeFailure, ...])


# A declared tool keeps its own type.
@declares(SideEffect("write", key="refund:{order}", idempotent=True))
@tool
def refund(order: str) -> str:
    """Refunds."""
    return order


refund.invoke({"order": "o1"})


# Filters: generators and plain functions.
def stopwatch(call: Call) -> Flow:
    yield Sleep(0.1)
    found = yield Run(lambda: 3)
    update = yield Proceed(call)
    return update or found


def look_only(call: NodeCall) -> None:
    print(call.path, call.read("out"))


class Slot:
    def take(self) -> None: ...
    def release(self) -> None: ...


class Bulkhead:
    at = "tool"

    def __call__(self, call: ToolCall) -> Flow:
        yield Hold(Slot())
        return (yield Proceed(call))


filters: list[Filter] = [stopwatch, look_only, Bulkhead()]


# Gates: anything that takes a call and an update and gives a verdict.
def polite(call: NodeCall, update: Any) -> Verdict:
    return Verdict.passed() if update else Verdict.revise("say something")


gates: list[Gate] = [
    polite,
    custom(lambda call, update: None, otherwise="halt"),
    grounded("claim", "evidence", cited=lambda claim: claim.cites),
]


# People.
def decide(sidecar: Sidecar, card: Card) -> Card:
    return sidecar.approvals.decide(card.id, "approve", by=Principal("ann", "code"), reason="fine")


def repair(graph: CompiledStateGraph[State, None, State, State]) -> None:
    with operator("ann", reason="typo"):
        graph.update_state({"configurable": {"thread_id": "t"}}, {"out": "x"})


def give_up(graph: CompiledStateGraph[State, None, State, State]) -> list[str]:
    found: Compensated = compensate(graph, "t", reason="given up", by="ann")
    assert_type(found.undone, tuple[str, ...])
    return [one.why for one in found.parked]


# Errors carry their rule and their data.
try:
    governed.invoke({"out": ""})
except Refusal as refusal:
    assert_type(refusal.code, str)
    assert_type(refusal.facts, dict[str, Any])
except GovernanceError as error:
    assert_type(error.reason, str)

policy: Policy = load_policy("sidecar.toml")
assert_type(policy.budget.session_tokens, int | None)
