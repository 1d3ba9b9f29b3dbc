"""What a node writes, reads and whom it sends control to: by return value, by LangGraph's own channels, in place."""

from __future__ import annotations

import asyncio
import operator
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages, push_message
from langgraph.types import Command, Overwrite, RetryPolicy, Send
from pydantic import BaseModel

from governance import Contract, Sidecar, Verdict, govern
from governance.errors import ContractViolation, Refusal
from governance.gates import custom


class Ledgered(TypedDict, total=False):
    out: str
    number: float
    log: Annotated[list[str], operator.add]
    secret: str
    bag: Any
    messages: Annotated[list[AnyMessage], add_messages]


class Strictly(BaseModel):
    number: float = 0.0
    log: Annotated[list[str], operator.add] = []


@dataclass
class Loosely:
    number: float = 0.0
    log: Annotated[list[str], operator.add] = field(default_factory=list)


def send(*writes: tuple[str, Any]) -> None:
    get_config()["configurable"]["__pregel_send"](list(writes))


WRITES: dict[str, Any] = {
    "dict": lambda: {"secret": "x"},
    "command": lambda: Command(update={"secret": "x"}),
    "pairs": lambda: Command(update=[("secret", "x")]),
    "list": lambda: [Command(update={"secret": "x"}), {"out": "y"}],
    "beside": lambda: {"out": "y", "secret": "x"},
    "overwrite": lambda: {"secret": Overwrite("x")},
    "none": lambda: {"secret": None},
    "sent": lambda: send(("secret", "x")),
    "sent with others": lambda: send(("out", "y"), ("secret", "x")),
}


@pytest.mark.parametrize("how", list(WRITES))
def test_no_way_of_writing_reaches_a_key_of_somebody_else(how: str, sidecar: Sidecar, one: Any, thread: Any) -> None:
    graph = govern(
        one(lambda s: WRITES[how](), Ledgered, checkpointer=InMemorySaver()),
        contracts={"n": Contract(writes=["out"])},
        sidecar=sidecar,
    )

    with pytest.raises(ContractViolation, match="secret"):
        graph.invoke({"out": "a"}, thread)

    assert "secret" not in graph.get_state(thread).values


@pytest.mark.parametrize("how", ["dict", "command", "pairs", "list"])
def test_a_key_the_state_does_not_have_is_refused_not_dropped(how: str, sidecar: Sidecar, one: Any) -> None:
    forms: dict[str, Any] = {
        "dict": {"otu": "typo"},
        "command": Command(update={"otu": "typo"}),
        "pairs": Command(update=[("otu", "typo")]),
        "list": [{"out": "x"}, {"otu": "typo"}],
    }
    graph = govern(one(lambda s: forms[how], Ledgered), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="otu"):
        graph.invoke({"out": "a"})


@pytest.mark.parametrize("state", [Ledgered, Strictly, Loosely])
def test_a_value_of_the_wrong_type_is_refused_in_every_form_of_state(state: Any, sidecar: Sidecar, one: Any) -> None:
    """LangGraph does not validate what a node returns, not even for a pydantic state."""
    graph = govern(one(lambda s: {"number": "foo"}, state), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="number"):
        graph.invoke({"number": 1.0})


@pytest.mark.parametrize("form", ["object", "dict"])
def test_nobody_throws_away_what_others_wrote(form: str, sidecar: Sidecar, chain_of: Any, thread: Any) -> None:
    wiped: Any = Overwrite([]) if form == "object" else {"__overwrite__": []}
    graph = chain_of(
        Ledgered, {"checkpointer": InMemorySaver()}, first=lambda s: {"log": ["kept"]}, n=lambda s: {"log": wiped}
    )
    govern(graph, contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="Overwrite"):
        graph.invoke({"log": []}, thread)

    assert ["kept"] == graph.get_state(thread).values["log"]


def test_an_overwrite_sent_past_the_return_value_is_refused(sidecar: Sidecar, one: Any) -> None:
    graph = govern(one(lambda s: send(("log", Overwrite([]))), Ledgered), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="Overwrite"):
        graph.invoke({"log": ["kept"]})


class Listing(list[Any]):
    pass


CONTAINERS: dict[str, tuple[Any, Any]] = {
    "list": (["kept"], lambda bag: bag.clear()),
    "dict": ({"kept": 1}, lambda bag: bag.clear()),
    "set": ({"kept"}, lambda bag: bag.clear()),
    "deque": (deque(["kept"]), lambda bag: bag.clear()),
    "ordered": (OrderedDict(kept=1), lambda bag: bag.clear()),
    "default": (defaultdict(int, kept=1), lambda bag: bag.clear()),
    "bytes": (bytearray(b"kept"), lambda bag: bag.clear()),
    "subclass": (Listing(["kept"]), lambda bag: bag.clear()),
}


@pytest.mark.parametrize("kind", list(CONTAINERS))
def test_a_container_changed_in_place_does_not_change_the_state(kind: str, sidecar: Sidecar, chain_of: Any) -> None:
    bag, change = CONTAINERS[kind]
    seen: list[int] = []

    def sneaky(state: Any) -> Any:
        change(state["bag"])
        return {}

    graph = chain_of(Ledgered, n=sneaky, after=lambda s: seen.append(len(s["bag"])))
    govern(graph, contracts={"*": Contract(writes=[])}, sidecar=sidecar)

    graph.invoke({"bag": bag})

    assert [0] != seen


@pytest.mark.parametrize("state", [Ledgered, Strictly, Loosely])
def test_a_list_of_any_state_changed_in_place_does_not_change_the_state(
    state: Any, sidecar: Sidecar, chain_of: Any
) -> None:
    seen: list[int] = []

    def log_of(given: Any) -> list[str]:
        return given["log"] if isinstance(given, dict) else given.log

    graph = chain_of(state, n=lambda s: log_of(s).append("hacked"), after=lambda s: seen.append(len(log_of(s))))
    govern(graph, contracts={"*": Contract(writes=[])}, sidecar=sidecar)

    try:
        graph.invoke({"log": ["kept"]})
    except Refusal:
        pass

    assert [2] != seen


def test_what_langgraph_itself_would_read_out_is_no_handle_on_the_state(sidecar: Sidecar, chain_of: Any) -> None:
    """`__pregel_read` in the config gives the channel's own object."""
    seen: list[list[str]] = []

    def sneaky(state: Any) -> Any:
        get_config()["configurable"]["__pregel_read"]("log").append("hacked")
        return {}

    graph = chain_of(Ledgered, n=sneaky, after=lambda s: seen.append(s["log"]))
    govern(graph, contracts={"*": Contract(writes=[])}, sidecar=sidecar)

    try:
        graph.invoke({"log": ["kept"]})
    except Refusal:
        pass

    assert ["kept", "hacked"] not in seen


def test_a_deep_change_in_place_is_found_in_strict_mode(sidecar: Sidecar, one: Any) -> None:
    def sneaky(state: Any) -> Any:
        state["messages"][0].content = "hacked"
        return {}

    graph = govern(one(sneaky, Ledgered), contracts={"n": Contract()}, mode="strict", sidecar=sidecar)

    with pytest.raises(ContractViolation, match="in place"):
        graph.invoke({"messages": [HumanMessage("kept")]})


# ---- reads -------------------------------------------------------------------------------------------------------

THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}
READS: dict[str, Any] = {
    "state": lambda state, graph: state["secret"],
    "langgraph": lambda state, graph: get_config()["configurable"]["__pregel_read"]("secret"),
    "langgraph fresh": lambda state, graph: get_config()["configurable"]["__pregel_read"](["secret"], True),
    "saver through the graph": lambda state, graph: graph.get_state(THREAD).values["secret"],
    "history": lambda state, graph: next(iter(graph.get_state_history(THREAD))).values["secret"],
}


@pytest.mark.parametrize("how", list(READS))
def test_no_way_of_reading_reaches_a_key_outside_the_contract(
    how: str, sidecar: Sidecar, chain_of: Any, thread: Any
) -> None:
    seen: list[Any] = []
    made: list[Any] = []

    def node(state: Any) -> Any:
        seen.append(READS[how](state, made[0]))
        return {}

    graph = chain_of(Ledgered, {"checkpointer": InMemorySaver()}, first=lambda s: {"secret": "hunter2"}, n=node)
    made.append(govern(graph, contracts={"first": Contract(), "n": Contract(reads=["out"])}, sidecar=sidecar))

    with pytest.raises((Refusal, KeyError)):
        graph.invoke({"out": "a"}, thread, durability="sync")

    assert [] == seen


def test_a_payload_sent_to_a_node_is_not_projected_away(sidecar: Sidecar) -> None:
    """A `Send` payload is no state: projecting it would empty it."""
    seen: list[Any] = []
    builder = StateGraph(Ledgered)
    builder.add_node("m", lambda s: {})
    builder.add_node("n", lambda s: seen.append(s["item"]))
    builder.add_edge(START, "m")
    builder.add_conditional_edges("m", lambda s: [Send("n", {"item": 1})], ["n"])
    graph = govern(builder.compile(), contracts={"*": Contract(reads=["out"])}, sidecar=sidecar)

    graph.invoke({"out": "a"})

    assert [1] == seen


# ---- routes ------------------------------------------------------------------------------------------------------


class Rooted(TypedDict, total=False):
    out: str


def routed(node: Any, state: Any, ran: list[str]) -> Any:
    """Nodes `n` and `next` are joined; `hidden` is in the graph and no edge leads there."""
    builder = StateGraph(state)
    builder.add_node("n", node)
    builder.add_node("next", lambda s: ran.append("next"))
    builder.add_node("hidden", lambda s: ran.append("hidden"))
    builder.add_edge(START, "n")
    builder.add_edge("n", "next")
    return builder.compile()


ROUTES: dict[str, Any] = {
    "goto": lambda: Command(goto="hidden"),
    "goto list": lambda: Command(goto=["next", "hidden"]),
    "goto send": lambda: Command(goto=Send("hidden", {})),
    "goto with update": lambda: Command(update={"out": "x"}, goto="hidden"),
    "sends in a list": lambda: [{"out": "x"}, Command(goto=[Send("hidden", {})])],
    "list": lambda: [{"out": "x"}, Command(goto="hidden")],
    "sent branch": lambda: send(("branch:to:hidden", None)),
    "sent task": lambda: send(("__pregel_tasks", Send("hidden", {}))),
}


@pytest.mark.parametrize("how", list(ROUTES))
def test_no_way_of_routing_reaches_a_node_no_edge_leads_to(how: str, sidecar: Sidecar) -> None:
    """A node that goes to the secret node by itself passes the gate that stands on the edge."""
    ran: list[str] = []
    graph = govern(routed(lambda s: ROUTES[how](), Rooted, ran), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert "hidden" not in ran


@pytest.mark.parametrize("how", ["goto", "goto send", "sent branch", "sent task"])
def test_a_state_without_keys_guards_its_routes_too(how: str, sidecar: Sidecar) -> None:
    """A graph over a plain list has no keys to own, but it has routes."""
    ran: list[str] = []
    state = Annotated[list[Any], operator.add]

    def node(given: Any) -> Any:
        return ROUTES[how]() or []

    builder: Any = StateGraph(state)
    builder.add_node("n", node)
    builder.add_node("next", lambda s: [])
    builder.add_node("hidden", lambda s: (ran.append("hidden"), [])[1])
    builder.add_edge(START, "n")
    builder.add_edge("n", "next")
    graph = govern(builder.compile(), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke([])

    assert [] == ran


@pytest.mark.parametrize("how", ["router", "sent branch", "sent task"])
def test_an_edge_that_may_lead_anywhere_is_bound_by_the_routes_of_the_contract(how: str, sidecar: Sidecar) -> None:
    ran: list[str] = []
    builder = StateGraph(Rooted)
    builder.add_node("n", lambda s: None if how == "router" else ROUTES[how]())
    builder.add_node("next", lambda s: ran.append("next"))
    builder.add_node("hidden", lambda s: ran.append("hidden"))
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", lambda s: "hidden" if how == "router" else "next")
    graph = govern(builder.compile(), contracts={"*": Contract(), "n": Contract(routes=["next"])}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert "hidden" not in ran


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("does", ["goto", "update"])
def test_a_command_to_the_parent_graph_is_judged_where_it_arrives(
    depth: int, does: str, sidecar: Sidecar, one: Any
) -> None:
    ran: list[str] = []

    def leave(state: Any) -> Any:
        given: dict[str, Any] = {"goto": "hidden"} if does == "goto" else {"update": {"secret": "x"}, "goto": "next"}
        return Command(graph=Command.PARENT, **given)

    inner = one(leave, Ledgered)
    if depth == 2:
        middle = StateGraph(Ledgered)
        middle.add_node("m", inner)
        middle.add_node("hidden", lambda s: ran.append("hidden"))
        middle.add_node("next", lambda s: ran.append("next"))
        middle.add_edge(START, "m")
        inner = middle.compile()
    graph = routed(inner, Ledgered, ran)
    govern(graph, contracts={"*": Contract(writes=["out"])}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert "hidden" not in ran


def test_a_command_to_the_parent_from_a_graph_called_in_code_is_judged_too(sidecar: Sidecar, one: Any) -> None:
    ran: list[str] = []
    inner = one(lambda s: Command(graph=Command.PARENT, goto="hidden"), Rooted)
    graph = govern(
        routed(lambda s: inner.invoke({"out": ""}), Rooted, ran), contracts={"*": Contract()}, sidecar=sidecar
    )

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})

    assert [] == ran


# ---- past the gates ----------------------------------------------------------------------------------------------


def no_lie(call: Any, update: Any) -> str | None:
    return "a lie" if "lie" in str(update) else None


@pytest.mark.parametrize("where", ["node", "router"])
def test_what_a_gate_would_stop_cannot_be_sent_beside_it(where: str, sidecar: Sidecar, thread: Any) -> None:
    """A gate judges what a node returns; nothing else of that node may reach the state."""

    def smuggle(state: Any, config: RunnableConfig) -> str:
        config["configurable"]["__pregel_send"]([("out", "lie")])
        return END

    builder = StateGraph(Ledgered)
    builder.add_node("n", (lambda s: send(("out", "lie"))) if where == "node" else (lambda s: {"number": 1.0}))
    builder.add_edge(START, "n")
    if where == "router":
        builder.add_conditional_edges("n", smuggle, [END])
    graph = govern(
        builder.compile(checkpointer=InMemorySaver()),
        contracts={"n": Contract(gates=[custom(no_lie, otherwise="halt")])},
        sidecar=sidecar,
    )

    with pytest.raises(Refusal):
        graph.invoke({"out": "true"}, thread)

    assert "true" == graph.get_state(thread).values["out"]


@pytest.mark.parametrize("value", [Overwrite(["hacked"]), 5], ids=["overwrite", "type"])
def test_a_router_sends_nothing_its_node_could_not_write(value: Any, sidecar: Sidecar) -> None:
    def smuggle(state: Any, config: RunnableConfig) -> str:
        config["configurable"]["__pregel_send"]([("log" if value != 5 else "out", value)])
        return END

    builder = StateGraph(Ledgered)
    builder.add_node("n", lambda s: {"number": 1.0})
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", smuggle, [END])
    graph = govern(builder.compile(), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({"log": ["kept"]})


@pytest.mark.parametrize("channel", ["__error__", "__interrupt__", "__resume__", "__no_writes__", "__start__"])
def test_langgraphs_own_channels_are_not_a_nodes_to_write(channel: str, sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: send((channel, "x")), Ledgered), contracts={"n": Contract(waives=["types"])}, sidecar=sidecar
    )

    with pytest.raises(Refusal):
        graph.invoke({"out": ""})


def test_a_message_pushed_past_the_return_value_needs_ownership(sidecar: Sidecar, one: Any) -> None:
    def node(state: Any) -> Any:
        push_message(AIMessage("pushed", id="1"))
        return {}

    graph = govern(one(node, Ledgered), contracts={"n": Contract(writes=["out"])}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="messages"):
        graph.invoke({"out": ""})


def test_a_gate_that_raises_has_not_passed_anything(sidecar: Sidecar, one: Any) -> None:
    def broken(call: Any, update: Any) -> Verdict:
        raise RuntimeError("no opinion")

    graph = govern(one(lambda s: {"out": "x"}), contracts={"n": Contract(gates=[broken])}, sidecar=sidecar)

    with pytest.raises(Refusal, match="no opinion"):
        graph.invoke({"out": ""})


@pytest.mark.parametrize("answer", [None, True, "pass", "passed", 1])
def test_a_gate_that_answers_no_verdict_has_not_passed_anything(answer: Any, sidecar: Sidecar, one: Any) -> None:
    """Truth is no verdict: a gate written for another library fails closed."""
    graph = govern(one(lambda s: {"out": "x"}), contracts={"n": Contract(gates=[lambda c, u: answer])}, sidecar=sidecar)

    with pytest.raises(Exception):  # noqa: B017
        graph.invoke({"out": ""})


def test_nothing_a_refused_node_wrote_is_streamed(sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": "lie"}),
        contracts={"n": Contract(gates=[custom(no_lie, otherwise="halt")])},
        sidecar=sidecar,
    )
    streamed: list[Any] = []

    async def consume() -> None:
        modes = ["values", "updates", "tasks", "debug", "custom", "messages"]
        async for piece in graph.astream({"out": "true"}, stream_mode=modes):
            streamed.append(piece)

    with pytest.raises(Refusal):
        asyncio.run(consume())

    assert "lie" not in str(streamed).replace("a lie", "")


# ---- long lists, which are not copied each time ------------------------------------------------------------------


def log_of(given: Any) -> list[str]:
    return given["log"] if isinstance(given, dict) else given.log


@pytest.mark.parametrize("state", [Ledgered, Strictly, Loosely])
@pytest.mark.parametrize("change", ["replace", "append", "remove"])
def test_a_long_list_changed_in_place_is_not_what_the_next_node_sees(
    change: str, state: Any, sidecar: Sidecar, chain_of: Any
) -> None:
    seen: list[list[str]] = []

    def sneaky(given: Any) -> Any:
        log = log_of(given)
        if change == "replace":
            log[0] = "hacked"
        elif change == "append":
            log.append("hacked")
        else:
            log.pop()
        return {}

    kept = [f"line {n}" for n in range(1000)]
    graph = chain_of(state, n=sneaky, after=lambda s: seen.append(list(log_of(s))))
    govern(graph, contracts={"*": Contract(writes=[])}, sidecar=sidecar)
    try:
        graph.invoke({"log": list(kept)})
    except Refusal:
        pass

    assert seen in ([], [kept])


def test_a_long_list_changed_by_a_failing_attempt_is_not_what_the_next_attempt_sees(sidecar: Sidecar, one: Any) -> None:
    seen: list[str] = []

    def sneaky(given: Any) -> Any:
        seen.append(given["log"][0])
        given["log"][0] = "hacked"
        if len(seen) == 1:
            raise ConnectionError("weather")
        return {}

    patient = RetryPolicy(max_attempts=2, initial_interval=0, jitter=False)
    graph = govern(one(sneaky, Ledgered, {"retry_policy": patient}), contracts={"n": Contract()}, sidecar=sidecar)
    try:
        graph.invoke({"log": ["kept"] * 1000})
    except Refusal:
        pass

    assert {"kept"} == set(seen)


def test_a_long_list_kept_by_a_node_is_no_handle_on_what_later_nodes_see(sidecar: Sidecar, chain_of: Any) -> None:
    held: list[Any] = []
    seen: list[str] = []

    def later(given: Any) -> Any:
        held[0][0] = "hacked"
        seen.append(given["log"][0])

    graph = chain_of(Ledgered, n=lambda s: held.append(s["log"]), after=later)
    govern(graph, contracts={"*": Contract()}, sidecar=sidecar)
    try:
        graph.invoke({"log": ["kept"] * 1000})
    except Refusal:
        pass

    assert ["kept"] == seen
