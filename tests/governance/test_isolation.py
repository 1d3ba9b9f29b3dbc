"""What a contract may say about failures, and what a node reads of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.graph import START, StateGraph

from governance import Cached, Contract, Plain, Sidecar, govern, isolated
from governance.errors import ContractError, DeadlineExceeded, GovernanceError, Unavailable
from governance.isolation import isolates
from governance.plane.explanation import sentence
from tests.fixtures import State

ISOLATES = Contract(on_failure="isolate")


def boom(state: Any) -> Any:
    raise ValueError("boom")


def test_outside_of_a_governed_node_nothing_has_failed() -> None:
    assert () == isolated()


def test_in_a_node_that_is_only_observed_nothing_is_asked_of_its_contract(sidecar: Sidecar, line: Any) -> None:
    graph = line(bad=boom, n=lambda state: {"out": isolated()[0].message})
    contracts = {"bad": ISOLATES, "n": Contract.observe(reason="not looked at yet")}

    assert "boom" == govern(graph, contracts=contracts, sidecar=sidecar).invoke({"out": ""})["out"]


def test_a_failure_is_told_in_plain_words(sidecar: Sidecar, line: Any, rows: Any) -> None:
    graph = line(bad=boom, n=lambda state: {})
    contracts = {"bad": Contract(on_failure="isolate", failure_route="n"), "n": Contract()}
    govern(graph, contracts=contracts, sidecar=sidecar).invoke({"out": ""})
    (row,) = rows("failure.isolated")
    told = sentence(row._asdict(), lambda session, digest: None)

    expected = "The failure of bad (ValueError, error) was isolated: no other node was stopped, and control went to n."
    assert expected == told


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"on_failure": "ignore"}, "must be 'stop' or 'isolate', not 'ignore'"),
        ({"failure_route": "n"}, "set on_failure='isolate' too"),
        ({"fallback": 7}, "a function, a runnable, the name of a node, or a mapping, not 7"),
        ({"fallbacks": {"gpt-5": ["gpt-4"]}}, r"must be models, Cached\(seconds\) or Plain\(text\), not 'gpt-4'"),
        ({"fallbacks": {"pay": [State]}, "tools": ["pay"]}, "must be models"),
    ],
)
def test_a_contract_that_makes_no_sense_says_why(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        Contract(**given)


def test_an_answer_is_kept_for_some_time() -> None:
    with pytest.raises(ContractError, match="more than 0"):
        Cached(0)


def test_contracts_with_other_fallbacks_are_other_contracts() -> None:
    made = [Contract(fallbacks={"m": one}) for one in (Plain("a"), Plain("b"), [Cached(5)], [Cached(6)])]

    assert 4 == len({one.digest for one in made})


def decides(**options: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("n", boom, **options).add_node("other", lambda state: {})
    builder.add_edge(START, "n")
    return builder


def test_where_the_node_itself_decides_the_contract_names_the_route(sidecar: Sidecar) -> None:
    branching = decides()
    branching.add_conditional_edges("n", lambda state: "other", ["other"])
    for builder in (branching, decides(destinations=("other",))):
        with pytest.raises(ContractError, match="name a node in failure_route"):
            govern(builder.compile(), contracts={"n": ISOLATES, "*": Contract()}, sidecar=sidecar)


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        (Contract(on_failure="isolate", failure_route="nowhere"), "the graph has: n, other"),
        (Contract(fallback="nowhere"), "other nodes are: other"),
        (Contract(fallback="n"), "other nodes are: other"),
    ],
)
def test_a_node_that_is_not_there_is_named(contract: Contract, words: str, sidecar: Sidecar) -> None:
    with pytest.raises(ContractError, match=words):
        govern(decides().compile(), contracts={"n": contract, "*": Contract()}, sidecar=sidecar)


def test_an_error_handler_of_langgraph_and_an_isolation_exclude_each_other(sidecar: Sidecar) -> None:
    graph = decides(error_handler=lambda state: {}).compile()

    with pytest.raises(ContractError, match="error_handler"):
        govern(graph, contracts={"n": ISOLATES, "*": Contract()}, sidecar=sidecar)


def every(kind: type[GovernanceError]) -> Iterator[type[GovernanceError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every(below)


def test_of_what_governance_decides_only_three_kinds_are_a_failure_of_one_node() -> None:
    """And a class that is added later is none of them until somebody has thought about it."""
    alone = {*every(Unavailable), DeadlineExceeded}

    assert alone == {kind for kind in every(GovernanceError) if isolates(kind("why"))}


def test_what_is_no_error_is_isolated_by_nobody() -> None:
    assert [False, False, True] == [isolates(KeyboardInterrupt()), isolates(SystemExit()), isolates(OSError())]
