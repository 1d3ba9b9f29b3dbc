"""What a node sees of the state: its reads alone, in copies, so that changing them changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel

from governance import Contract, Sidecar, govern
from governance.errors import ContractViolation
from governance.projection import LENT, LONG


def keep(old: Any, new: Any) -> Any:
    return new if new is not None else old


class Mapped(TypedDict, total=False):
    out: str
    secret: str
    items: list[Any]
    seen: Annotated[Any, keep]


class Modelled(BaseModel):
    out: str = ""
    secret: str = ""
    items: list[Any] = []


@dataclass
class Classed:
    out: str = ""
    secret: str = ""
    items: list[Any] = field(default_factory=list)


def two(first: Any, state: Any = Mapped, then: Any = lambda state: {}) -> Any:
    builder = StateGraph(state)
    builder.add_node("a", first)
    builder.add_node("b", then)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    return builder.compile()


GIVEN = {"out": "o", "secret": "s", "items": [1, 2]}


def test_a_mapping_has_the_declared_keys_alone(sidecar: Sidecar) -> None:
    graph = govern(
        two(lambda state: {"out": ",".join(sorted(state))}),
        contracts={"a": Contract(reads=["out", "items"]), "b": Contract()},
        sidecar=sidecar,
    )

    assert "items,out" == graph.invoke(GIVEN)["out"]


def test_a_declared_key_that_the_state_lacks_yet_is_simply_not_there(sidecar: Sidecar) -> None:
    graph = govern(two(lambda state: {"out": str("secret" in state)}), contracts={"*": Contract()}, sidecar=sidecar)

    assert "False" == graph.invoke({"out": ""})["out"]


@pytest.mark.parametrize("state", [Modelled, Classed])
def test_an_object_is_of_its_own_type_and_refuses_hidden_fields(state: Any, sidecar: Sidecar) -> None:
    def shown(given: Any) -> Any:
        assert isinstance(given, state)
        return {"out": given.out + "!"}

    contracts = {"a": Contract(reads=["out"]), "b": Contract(reads=["out"])}
    graph = govern(two(shown, state, lambda given: {"out": given.secret}), contracts=contracts, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="b read 'secret', which its contract does not name"):
        graph.invoke(GIVEN)


@pytest.mark.parametrize("state", [Mapped, Modelled, Classed])
def test_a_field_the_contract_names_is_there_in_every_form_of_state(state: Any, sidecar: Sidecar) -> None:
    def read(given: Any) -> Any:
        return {"out": given["secret"] if isinstance(given, dict) else given.secret}

    contracts = {"a": Contract(reads=["secret"]), "b": Contract()}

    assert "s" == govern(two(read, state), contracts=contracts, sidecar=sidecar).invoke(GIVEN)["out"]


@pytest.mark.parametrize("state", [Mapped, Modelled, Classed])
def test_a_list_changed_in_place_is_the_nodes_own(state: Any, sidecar: Sidecar) -> None:
    def spoils(given: Any) -> Any:
        (given["items"] if isinstance(given, dict) else given.items).append(3)
        return {"out": "x"}

    assert [1, 2] == govern(two(spoils, state), contracts={"*": Contract()}, sidecar=sidecar).invoke(GIVEN)["items"]


def test_the_payload_of_a_send_is_not_projected(sidecar: Sidecar) -> None:
    """A payload is no state: the node that sent it chose what is in it."""
    builder = StateGraph(Mapped)
    builder.add_node("a", lambda state: {})
    builder.add_node("b", lambda payload: {"out": payload["anything"]})
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: [Send("b", {"anything": "goes"})], ["b"])
    contracts = {"a": Contract(), "b": Contract(reads=["items"])}

    assert "goes" == govern(builder.compile(), contracts=contracts, sidecar=sidecar).invoke(GIVEN)["out"]


def changing(what: Callable[[Any], Any]) -> Any:
    def node(state: Any) -> Any:
        what(state)
        return {"out": "x"}

    return node


DEEP: dict[str, Callable[[Any], Any]] = {
    "a message": lambda state: setattr(state["items"][0], "content", "hacked"),
    "a nested list": lambda state: state["items"][1].append(1),
    "a nested dict": lambda state: state["items"][2].update(a=2),
}


@pytest.mark.parametrize("change", sorted(DEEP))
def test_strict_mode_finds_a_change_at_any_depth(change: str, sidecar: Sidecar) -> None:
    graph = govern(two(changing(DEEP[change])), contracts={"*": Contract()}, mode="strict", sidecar=sidecar)

    with pytest.raises(ContractViolation, match="a changed its input state in place; return an update instead"):
        graph.invoke({"out": "", "items": [HumanMessage("hi"), [], {"a": 1}]})


def test_strict_mode_is_content_with_a_node_that_changes_nothing(sidecar: Sidecar) -> None:
    graph = govern(two(lambda state: {"out": "x"}), contracts={"*": Contract()}, mode="strict", sidecar=sidecar)

    assert "x" == graph.invoke({"out": "", "items": [HumanMessage("hi"), [], {"a": 1}]})["out"]


def long_list(n: int = LONG) -> list[Any]:
    return [HumanMessage(str(i)) for i in range(n)]


@pytest.mark.parametrize(
    "change", [lambda items: items.append(1), lambda items: items.clear(), lambda items: items.reverse()]
)
def test_a_long_list_that_somebody_spoiled_is_lent_to_nobody_else(change: Any, sidecar: Sidecar) -> None:
    """Lists this long are copied once and lent; the state and the next node never see what a node did to one."""
    given = long_list()
    graph = two(changing(lambda s: change(s["items"])), then=lambda s: {"out": str(s["items"] == given)})
    found = govern(graph, contracts={"*": Contract()}, sidecar=sidecar).invoke({"out": "", "items": given})

    assert ("True", given) == (found["out"], found["items"])


def test_a_node_that_keeps_a_long_list_does_not_see_the_next_one_change(sidecar: Sidecar) -> None:
    kept: list[Any] = []
    graph = two(lambda s: kept.append(s["items"]) or {}, then=changing(lambda s: s["items"].clear()))
    govern(graph, contracts={"*": Contract()}, sidecar=sidecar).invoke({"out": "", "items": long_list()})

    assert LONG == len(kept[0])


def test_a_long_list_is_whole_and_in_order_for_every_node(sidecar: Sidecar) -> None:
    given = long_list(LONG * 3)
    seen: list[Any] = []
    graph = two(lambda s: seen.append(s["items"]) or {}, then=lambda s: seen.append(s["items"]) or {})
    govern(graph, contracts={"*": Contract()}, sidecar=sidecar).invoke({"out": "", "items": given})

    assert [given, given] == seen
    assert all(one is not given for one in seen)


def test_more_long_lists_than_are_kept_are_all_lent_whole(sidecar: Sidecar) -> None:
    graph = govern(two(lambda s: {"out": str(len(s["items"]))}), contracts={"*": Contract()}, sidecar=sidecar)

    for extra in range(LENT + 5):
        assert str(LONG + extra) == graph.invoke({"out": "", "items": long_list(LONG + extra)})["out"]


def test_a_node_may_return_a_long_list_it_was_lent(sidecar: Sidecar) -> None:
    given = long_list()
    graph = two(lambda s: {"items": s["items"]}, then=lambda s: {"out": str(len(s["items"]))})

    assert str(LONG) == govern(graph, contracts={"*": Contract()}, sidecar=sidecar).invoke({"items": given})["out"]


def test_a_waiver_hands_the_state_itself_to_the_node(sidecar: Sidecar) -> None:
    graph = two(changing(lambda s: s["items"].append(3)))
    contracts = {"a": Contract(waives=["mutation"]), "b": Contract()}

    assert [1, 2, 3] == govern(graph, contracts=contracts, sidecar=sidecar).invoke(GIVEN | {"items": [1, 2]})["items"]
