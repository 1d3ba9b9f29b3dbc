"""`Overwrite` in every form LangGraph takes: nobody throws away what a reducer has gathered from others."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.config import get_config
from langgraph.types import Command, Overwrite

from governance import Contract, Sidecar, govern
from governance.errors import ContractViolation
from governance.gates import PASSED


def united(old: Any, new: Any) -> Any:
    return {**(old or {}), **new}


class Gathering(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    bag: Annotated[dict[str, Any], united]
    one: dict[str, Any]


class Mine(Overwrite):
    pass


class Plain(dict[str, Any]):
    pass


FORMS: dict[str, Callable[[Any], Any]] = {
    "object": Overwrite,
    "subclass": Mine,
    "key": lambda value: {"__overwrite__": value},
    "json": lambda value: {"value": value, "type": "__overwrite__"},
    "json with more": lambda value: {"value": value, "type": "__overwrite__", "x": 1},
    "ordered": lambda value: OrderedDict({"__overwrite__": value}),
    "ordered json": lambda value: OrderedDict({"value": value, "type": "__overwrite__"}),
    "mapping of its own": lambda value: Plain(value=value, type="__overwrite__"),
}

WAYS: dict[str, Callable[[str, Any], Any]] = {
    "dict": lambda key, value: {key: value},
    "ordered": lambda key, value: OrderedDict({key: value}),
    "command": lambda key, value: Command(update={key: value}),
    "pairs": lambda key, value: Command(update=[(key, value)]),
    "list": lambda key, value: [{}, Command(update={key: value})],
    "sent": lambda key, value: get_config()["configurable"]["__pregel_send"]([(key, value)]),
}

CONTRACTS: dict[str, Contract] = {
    "no type": Contract(),
    "writes": Contract(writes=["log", "bag"]),
    "types": Contract(writes={"log": list, "bag": dict}),
    "own type": Contract(writes={"log": list[str], "bag": Plain}),
    "no check": Contract(waives=["types"]),
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("key", ["log", "bag"])
def test_no_form_of_overwrite_throws_away_what_others_wrote(
    key: str, form: str, way: str, sidecar: Sidecar, one: Any
) -> None:
    wiped = FORMS[form]([] if key == "log" else {})
    graph = govern(one(lambda s: WAYS[way](key, wiped), Gathering), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="Overwrite"):
        graph.invoke({"log": ["kept"], "bag": {"kept": 1}})


@pytest.mark.parametrize("contract", list(CONTRACTS))
@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("key", ["log", "bag"])
def test_no_type_in_a_contract_is_a_way_past(key: str, form: str, contract: str, sidecar: Sidecar, one: Any) -> None:
    wiped = FORMS[form]([] if key == "log" else {})
    graph = govern(one(lambda s: {key: wiped}, Gathering), contracts={"n": CONTRACTS[contract]}, sidecar=sidecar)

    with pytest.raises(ContractViolation):
        graph.invoke({"log": ["kept"], "bag": {"kept": 1}})


def test_a_value_that_becomes_an_overwrite_after_it_was_looked_at_is_not_written(sidecar: Sidecar, one: Any) -> None:
    bag: dict[str, Any] = {"new": 1}

    def look(call: Any, update: Any) -> Any:
        bag.clear()
        bag["__overwrite__"] = {}

    graph = govern(
        one(lambda s: {"bag": bag}, Gathering),
        contracts={"n": Contract(approval=None, gates=[lambda c, u: look(c, u) or PASSED])},
        sidecar=sidecar,
    )

    assert {"kept": 1, "new": 1} == graph.invoke({"bag": {"kept": 1}})["bag"]


class Array:
    """Like numpy's: compared to anything it gives what has no truth of its own."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


def test_a_mapping_that_holds_an_array_is_only_data(sidecar: Sidecar, one: Any) -> None:
    graph = govern(one(lambda s: {"one": {"type": Array()}}, Gathering), contracts={"n": Contract()}, sidecar=sidecar)

    assert {"type"} == set(graph.invoke({"bag": {"kept": 1}})["one"])


@pytest.mark.parametrize("contract", [Contract(), Contract(writes={"bag": dict, "one": dict})])
def test_mappings_that_are_only_data_are_written(contract: Contract, sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: {"bag": {"type": "card"}, "one": {"value": 1}}, Gathering),
        contracts={"n": contract},
        sidecar=sidecar,
    )

    ended = graph.invoke({"bag": {"kept": 1}})

    assert ({"kept": 1, "type": "card"}, {"value": 1}) == (ended["bag"], ended["one"])


@pytest.mark.parametrize("form", ["object", "key", "json"])
def test_who_may_overwrite_may_in_every_form(form: str, sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: {"log": FORMS[form](["new"])}, Gathering),
        contracts={"n": Contract(waives=["overwrite"])},
        sidecar=sidecar,
    )

    assert ["new"] == graph.invoke({"log": ["kept"]})["log"]
