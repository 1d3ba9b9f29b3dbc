"""What a gate looked at is what is written, in every form of update, whatever the node still has a hold of."""

from __future__ import annotations

import operator
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send
from pydantic import BaseModel

from governance import Contract, Sidecar, Verdict, govern
from governance.errors import GateRefused
from governance.gates import custom, grounded, schema


class Log(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    bag: dict[str, Any]
    names: Any
    out: str
    secret: str


class Modelled(BaseModel):
    log: Annotated[list[str], operator.add] = []
    out: str = ""


@dataclass
class Dated:
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    out: str = ""


def while_judged(change: Callable[[], Any]) -> Any:
    """A gate that passes an update, after a thread that the node left behind has changed something."""

    def gate(call: Any, update: Any) -> Verdict:
        left_behind = threading.Thread(target=change)
        left_behind.start()
        left_behind.join()
        return Verdict.passed()

    return gate


CHANGES: dict[str, Callable[[], tuple[Any, Callable[[Any], Any]]]] = {
    "key": lambda: ({"out": "good"}, lambda update: update.update(out="bad")),
    "foreign key": lambda: ({"out": "good"}, lambda update: update.update(secret="bad")),
    "cleared": lambda: ({"out": "good"}, lambda update: update.clear()),
    "list": lambda: ({"out": "good", "log": ["ok"]}, lambda update: update["log"].append("bad")),
    "dict": lambda: ({"out": "good", "bag": {"a": "ok"}}, lambda update: update["bag"].update(a="bad")),
    "set": lambda: ({"out": "good", "names": {"ok"}}, lambda update: update["names"].add("bad")),
    "ordered": lambda: (OrderedDict(out="good"), lambda update: update.update(out="bad")),
    "command": lambda: (Command(update={"out": "good"}), lambda command: command.update.update(out="bad")),
    "list in a command": lambda: (
        Command(update={"out": "good", "log": ["ok"]}),
        lambda command: command.update["log"].append("bad"),
    ),
    "pairs": lambda: (Command(update=[("out", "good")]), lambda command: command.update.append(("secret", "bad"))),
    "list in pairs": lambda: (
        Command(update=[("out", "good"), ("log", ["ok"])]),
        lambda command: command.update[1][1].append("bad"),
    ),
    "updates": lambda: (
        [{"out": "good"}, Command(update={"log": ["ok"]})],
        lambda updates: updates.append(Command(update={"secret": "bad"})),
    ),
    "one of the updates": lambda: (
        [{"out": "good"}, Command(update={"log": ["ok"]})],
        lambda updates: updates[0].update(out="bad"),
    ),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_changes_in_an_update_while_its_gate_looks_is_not_written(change: str, sidecar: Sidecar, one: Any) -> None:
    update, changed = CHANGES[change]()
    contract = Contract(gates=[while_judged(lambda: changed(update))])
    graph = govern(one(lambda s: update, Log), contracts={"n": contract}, sidecar=sidecar)

    ended = graph.invoke({"log": []})

    assert "good" == ended["out"]
    assert "bad" not in str(ended)


@pytest.mark.parametrize("state", [Modelled, Dated])
@pytest.mark.parametrize("change", ["field", "list"])
def test_an_update_that_is_an_object_is_held_too(change: str, state: Any, sidecar: Sidecar, one: Any) -> None:
    update = state(log=["ok"], out="good")
    changed = {"field": lambda: setattr(update, "out", "bad"), "list": lambda: update.log.append("bad")}[change]
    graph = govern(
        one(lambda s: update, state), contracts={"n": Contract(gates=[while_judged(changed)])}, sidecar=sidecar
    )

    ended = graph.invoke({"log": []})

    assert ("good", ["ok"]) == (ended["out"], ended["log"])


@pytest.mark.parametrize("change", ["goto", "send"])
def test_where_an_update_leads_is_held_too(change: str, sidecar: Sidecar) -> None:
    ran: list[Any] = []
    payload: dict[str, Any] = {"item": "good"}
    goto: list[Any] = ["a"] if change == "goto" else [Send("a", payload)]
    changed = (lambda: goto.append("b")) if change == "goto" else (lambda: payload.update(item="bad"))
    builder = StateGraph(Log).add_node("n", lambda s: Command(goto=goto), destinations=("a", "b")).add_edge(START, "n")
    builder.add_node("a", lambda s: ran.append(("a", s.get("item")))).add_node("b", lambda s: ran.append(("b", None)))
    contracts = {"*": Contract(), "n": Contract(gates=[while_judged(changed)])}

    govern(builder.compile(), contracts=contracts, sidecar=sidecar).invoke({"log": []})

    assert [("a", None if change == "goto" else "good")] == ran


def test_what_a_node_keeps_of_its_update_is_no_handle_on_the_state(sidecar: Sidecar, line: Any) -> None:
    kept: list[str] = []
    seen: list[list[str]] = []

    def later(state: Any) -> Any:
        kept.append("bad")
        seen.append(list(state["names"]))

    graph = line(Log, first=lambda s: {"names": kept}, second=later, third=lambda s: seen.append(list(s["names"])))

    govern(graph, contracts={"*": Contract()}, sidecar=sidecar).invoke({"log": []})

    assert [[], []] == seen


# ---- gates that look for a key -------------------------------------------------------------------------------------

SHAPES: dict[str, Callable[[Any], Any]] = {
    "dict": lambda wrong: {"out": wrong},
    "command": lambda wrong: Command(update={"out": wrong}),
    "pairs": lambda wrong: Command(update=[("out", wrong)]),
    "twice in pairs": lambda wrong: Command(update=[("out", "e1"), ("out", wrong)]),
    "list": lambda wrong: [Command(update={"out": wrong})],
    "two": lambda wrong: [{"log": []}, Command(update={"out": wrong})],
    "tuple": lambda wrong: ({"out": wrong}, Command(update={"log": []})),
    "behind a good one": lambda wrong: [{"out": "e1"}, Command(update=[("out", wrong)])],
    "beside a send": lambda wrong: [Command(goto=[Send("n", {})]), {"out": wrong}],
}


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_grounded_gate_sees_a_citation_in_every_shape_of_update(
    shape: str, least: int, sidecar: Sidecar, one: Any
) -> None:
    gate = grounded("out", "log", cited=lambda text: text.split(), least=least)
    contract = Contract(gates=[gate], routes=["n"])
    graph = govern(one(lambda s: SHAPES[shape]("invented"), Log), contracts={"n": contract}, sidecar=sidecar)

    with pytest.raises(GateRefused, match="invented"):
        graph.invoke({"log": ["e1"]})


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_schema_gate_sees_a_value_in_every_shape_of_update(shape: str, sidecar: Sidecar, one: Any) -> None:
    contract = Contract(gates=[schema("out", str)], routes=["n"], waives=["types"])
    graph = govern(one(lambda s: SHAPES[shape](5), Log), contracts={"n": contract}, sidecar=sidecar)

    with pytest.raises(GateRefused, match="out"):
        graph.invoke({"log": ["e1"]})


@pytest.mark.parametrize("shape", ["dict", "command", "pairs", "list", "two"])
def test_what_is_grounded_passes_in_every_shape(shape: str, sidecar: Sidecar, one: Any) -> None:
    gate = grounded("out", "log", cited=lambda text: text.split())
    graph = govern(one(lambda s: SHAPES[shape]("e1"), Log), contracts={"n": Contract(gates=[gate])}, sidecar=sidecar)

    assert "e1" == graph.invoke({"log": ["e1"]})["out"]


def test_a_gate_of_your_own_that_expects_a_mapping_passes_nothing_else(sidecar: Sidecar, one: Any) -> None:
    gate = custom(lambda call, update: None if update["out"] == "good" else "bad")
    graph = govern(
        one(lambda s: Command(update={"out": "bad"}), Log), contracts={"n": Contract(gates=[gate])}, sidecar=sidecar
    )

    with pytest.raises(GateRefused):
        graph.invoke({"log": []})
