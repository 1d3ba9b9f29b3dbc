"""Contracts are frozen, checked when they are built, and say what was expected and what came."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.tools import tool

from governance import Approval, Contract, Sidecar, SideEffect, Tool, at_least, at_most, from_state, govern, matches
from governance import one_of as one_of
from governance.contracts import effect_of
from governance.errors import ContractError
from governance.gates import schema


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reads": "out"}, r"Contract.reads takes several values; write \('out',\)"),
        ({"writes": "out"}, r"Contract.writes takes several values"),
        ({"tools": "pay"}, r"Contract.tools takes several values"),
        ({"hosts": "example.org"}, r"Contract.hosts takes several values"),
        ({"routes": "b"}, r"Contract.routes takes several values"),
        ({"waives": "cache"}, r"Contract.waives takes several values"),
        ({"tokens": 0}, "Contract.tokens must be more than 0, not 0"),
        ({"timeout": -1}, "Contract.timeout must be more than 0, not -1"),
        ({"attempts": 0}, "Contract.attempts must be more than 0, not 0"),
    ],
)
def test_a_contract_that_cannot_be_meant_is_refused_when_it_is_built(fields: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        Contract(**fields)


def test_observe_needs_a_reason() -> None:
    with pytest.raises(ContractError, match="needs a reason that an auditor can read"):
        Contract.observe(reason="  ")


def test_an_effect_is_a_read_a_write_or_external() -> None:
    with pytest.raises(ContractError, match="must be 'read', 'write' or 'external', not 'delete'"):
        SideEffect("delete")  # type: ignore[arg-type]


def test_an_approval_cannot_have_expired_before_it_is_asked() -> None:
    with pytest.raises(ContractError, match="expires must be more than 0 seconds, not 0"):
        Approval(expires=0)


@pytest.mark.parametrize("part", [Contract(), Tool("t"), Approval(), SideEffect("read")])
def test_nothing_of_a_contract_can_be_assigned_to(part: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(part, dataclasses.fields(part)[0].name, "x")


def test_a_narrowed_contract_keeps_what_was_not_changed() -> None:
    whole = Contract(reads=["a"], tools=[Tool("t", where={"x": at_most(1)})], tokens=10, attempts=2)
    narrow = whole.narrowed(tokens=5)

    assert (5, 2, frozenset({"a"}), whole.tools) == (narrow.tokens, narrow.attempts, narrow.reads, narrow.tools)
    assert 10 == whole.tokens


def test_a_narrowed_contract_is_checked_like_a_new_one() -> None:
    with pytest.raises(ContractError):
        Contract().narrowed(tokens=-1)


def gated(limit: int) -> Contract:
    return Contract(tools=[Tool("t", where={"x": at_most(limit)})], gates=[schema("out", int)])


def test_contracts_that_say_the_same_have_the_same_digest_in_every_process() -> None:
    assert gated(5).digest == gated(5).digest


@pytest.mark.parametrize(
    "other",
    [
        Contract(reads=["a"]),
        Contract(reads=[]),
        Contract(tools=["t"]),
        Contract(tokens=1),
        Contract(waives=["types"]),
        Contract(approval=Approval()),
        Contract(approval=Approval(by=["ann"])),
        Contract(writes={"a": int}),
        Contract(writes={"a": str}),
        Contract(writes=["a"]),
    ],
)
def test_a_contract_that_says_something_else_has_another_digest(other: Contract) -> None:
    assert Contract().digest != other.digest


def test_a_limit_inside_a_constraint_is_part_of_the_digest() -> None:
    """An approval given under one limit must not count under another."""
    assert gated(5).digest != gated(50).digest


def test_the_type_a_gate_holds_to_is_part_of_the_digest() -> None:
    assert Contract(gates=[schema("out", int)]).digest != Contract(gates=[schema("out", str)]).digest


def call(state: Any = None, **args: Any) -> Any:
    return SimpleNamespace(args=args, node=SimpleNamespace(read=lambda key: (state or {}).get(key)))


@pytest.mark.parametrize(
    ("constraint", "good", "bad", "words"),
    [
        (one_of("a", 1), ["a", 1], ["b", True, 1.0, None], "must be one of 'a', 1, not 'b'"),
        (at_most(50), [50, 0.5, -3], [51, "1", True, None, float("nan")], "must be a number up to 50, not 51"),
        (at_least(5), [5, 7.5], [4, "9", False, None, float("nan")], "must be a number of at least 5, not 4"),
        (matches("a+"), ["a", "aaa"], ["b", "ab", "a\n", 1, None], "must match 'a+', not 'b'"),
    ],
)
def test_constraints_allow_what_they_name_and_say_what_came(constraint: Any, good: Any, bad: Any, words: str) -> None:
    assert [None] * len(good) == [constraint(value, call()) for value in good]
    assert words == constraint(bad[0], call())
    assert None not in [constraint(value, call()) for value in bad]


@pytest.mark.parametrize("known", ["o1", ["o1", "o2"], ("o1",), {"o1"}])
def test_an_argument_from_state_is_the_value_or_a_member(known: Any) -> None:
    constraint = from_state("order")

    assert constraint("o1", call({"order": known})) is None
    assert "must come from the state key 'order', not 'o9'" == constraint("o9", call({"order": known}))


def test_a_state_that_lacks_the_key_allows_nothing_but_nothing() -> None:
    assert from_state("order")("o1", call({})) is not None


def test_pick_takes_the_part_of_the_state_that_counts() -> None:
    constraint = from_state("orders", pick=lambda orders: [one["id"] for one in orders])

    assert constraint("o1", call({"orders": [{"id": "o1"}]})) is None


def test_tools_are_looked_up_by_name_and_a_waiver_allows_every_tool() -> None:
    rule = Tool("t")

    assert rule == Contract(tools=[rule]).tool("t")
    assert Contract(tools=["t"]).tool("u") is None
    assert Tool("u") == Contract(waives=["tools"]).tool("u")


def test_a_declared_effect_is_found_on_the_tool() -> None:
    from governance import declares

    @declares(SideEffect("write", key="refund:{order}"))
    @tool
    def refund(order: str) -> str:
        """Refunds."""
        return order

    found = effect_of(refund)
    assert found is not None
    assert ("write", True, "refund:{order}") == (found.kind, found.changes, found.key)
    assert effect_of(object()) is None


@pytest.mark.parametrize(
    ("contracts", "words"),
    [
        ({"nod": Contract()}, "there is a contract for 'nod', but the graph has: n"),
        ({"n/x/y": Contract(), "m": Contract(), "n": Contract()}, "there is a contract for 'm', but the graph has: n"),
        ({"n": "observe"}, "the contract for 'n' is a str, not a Contract"),
        ({"n": Contract(reads=["outt"])}, "the contract of 'n' names 'outt' in reads, but the state has: "),
        ({"n": Contract(writes=["nope"])}, "the contract of 'n' names 'nope' in writes, but the state has: "),
        ({"n": Contract(feedback="nope")}, "the contract of 'n' names 'nope' in feedback, but the state has: "),
        ({}, "node 'n' has no contract; give it one, a pattern, or"),
    ],
)
def test_contracts_that_do_not_fit_the_graph_are_refused_with_what_it_has(
    contracts: Mapping[str, Any], words: str, line: Any, sidecar: Sidecar
) -> None:
    with pytest.raises(ContractError, match=words):
        govern(line(n=lambda state: {}), contracts=contracts, sidecar=sidecar)


def test_an_exact_name_comes_before_a_pattern_and_the_first_pattern_wins(line: Any, sidecar: Sidecar) -> None:
    from governance.seams import governance_of

    contracts = {"a*": Contract(tokens=1), "*": Contract(tokens=2), "ab": Contract(tokens=3)}
    graph = govern(line(ab=lambda s: {}, ac=lambda s: {}, x=lambda s: {}), contracts=contracts, sidecar=sidecar)
    governance: Any = governance_of(graph)

    assert [3, 1, 2] == [governance.contract(place).tokens for place in ("ab", "ac", "x")]
