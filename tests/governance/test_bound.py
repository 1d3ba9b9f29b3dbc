"""A contract met with what the graph declares: what may be written, with which types, and where control may go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from governance import Contract
from governance.bound import BRANCH, UNDECLARED, Bound, Declared

DECLARED = Declared(
    keys=frozenset({"a", "b", "log"}),
    types={"a": int, "b": str, "log": list},
    routes=frozenset({"next"}),
    reducers=frozenset({"log"}),
)


def bound(contract: Contract, declared: Declared = DECLARED, enforcing: bool = True) -> Bound:
    governance: Any = SimpleNamespace(enforcing=enforcing)
    return Bound("n", governance, contract, declared, ())


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        (Contract(), {"a": int, "b": str, "log": None}),
        (Contract(writes=["a"]), {"a": int}),
        (Contract(writes={"a": str}), {"a": str}),
        (Contract(writes=[]), {}),
        (Contract(waives=["types"]), {"a": None, "b": None, "log": None}),
    ],
)
def test_types_are_those_of_the_schema_unless_the_contract_says_otherwise(contract: Contract, expected: Any) -> None:
    """What a reducer takes is the reducer's business."""
    assert expected == dict(bound(contract).types)


def test_routes_are_the_edges_and_what_the_contract_adds() -> None:
    assert {"next", "other"} == bound(Contract(routes=["other"])).routes


def test_a_finished_node_may_write_its_own_keys_and_wake_its_routes() -> None:
    assert {"a", BRANCH + "next"} == bound(Contract(writes=["a"])).sends


def test_a_node_the_graph_says_nothing_about_has_no_keys_to_check() -> None:
    assert {} == dict(bound(Contract(), UNDECLARED).types)


@pytest.mark.parametrize(
    ("contract", "enforcing", "expected"),
    [(Contract(), True, True), (Contract(), False, False), (Contract.observe(reason="r"), True, False)],
)
def test_a_node_is_enforced_where_graph_and_contract_both_say_so(
    contract: Contract, enforcing: bool, expected: bool
) -> None:
    assert expected is bound(contract, enforcing=enforcing).enforced
