"""Types are checked strictly, with pydantic, and what cannot be checked passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from governance import Contract, Sidecar, govern
from governance.errors import ContractViolation
from governance.typecheck import adapter_of, type_problem


class Order(TypedDict):
    id: str
    total: float


class Model(BaseModel):
    n: int


@dataclass
class Point:
    x: int


class Strange:
    pass


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (str, ["a", ""], [1, None, b"a"]),
        (int, [1, -1], ["1", 1.0, True, None]),
        (float, [1.0, 1], ["1.0", True]),
        (bool, [True], [1, "true"]),
        (list[int], [[], [1]], [[1, "2"], (1,), None]),
        (dict[str, int], [{}, {"a": 1}], [{"a": "1"}, {1: 1}]),
        (int | None, [None, 3], ["3"]),
        (Literal["a", "b"], ["a"], ["c"]),
        (Order, [{"id": "1", "total": 2.0}], [{"id": 1, "total": 2.0}, {"id": "1"}]),
        (Model, [Model(n=1)], [{"n": 1}, "x"]),
        (Point, [Point(1)], [{"x": 1}]),
        (Strange, [Strange()], [object()]),
        (list[AnyMessage], [[HumanMessage("a"), AIMessage("b")]], [["a"]]),
        (Annotated[int, Field(gt=0)], [1], [0]),
        (Any, [1, None, object()], []),
        ("NoSuchName", [1], []),
    ],
)
def test_values_are_what_their_type_says_without_conversion(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [None] * len(good) == [type_problem("key", kind, value) for value in good]
    assert None not in [type_problem("key", kind, value) for value in bad]


def test_the_problem_names_place_value_and_expectation() -> None:
    assert "wrote orders.0.total = '12': Input should be a valid number" == type_problem(
        "orders", list[Order], [{"id": "1", "total": "12"}]
    )


def test_a_huge_value_is_shown_shortened() -> None:
    found = type_problem("out", int, "x" * 10_000)

    assert found is not None
    assert len(found) < 300


def test_a_type_that_cannot_be_hashed_is_checked_all_the_same() -> None:
    kind = Annotated[int, []]

    assert type_problem("n", kind, 1) is None
    assert type_problem("n", kind, "1") is not None


def test_an_adapter_is_built_once_a_type() -> None:
    assert adapter_of(list[Order]) is adapter_of(list[Order])


def test_a_node_that_writes_another_type_is_refused_with_what_came(line: Any, sidecar: Sidecar) -> None:
    graph = govern(line(n=lambda state: {"amount": "12"}), contracts={"*": Contract()}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="n wrote amount = '12': Input should be a valid integer"):
        graph.invoke({"out": ""})


def test_a_contract_may_narrow_the_type_of_the_schema(line: Any, sidecar: Sidecar) -> None:
    contracts = {"n": Contract(writes={"amount": Annotated[int, Field(le=50)]})}
    graph = govern(line(n=lambda state: {"amount": 51}), contracts=contracts, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="n wrote amount = 51: Input should be less than or equal to 50"):
        graph.invoke({"out": ""})


def test_types_can_be_waived(line: Any, sidecar: Sidecar) -> None:
    contracts = {"n": Contract(waives=["types"])}

    assert "12" == govern(line(n=lambda s: {"amount": "12"}), contracts=contracts, sidecar=sidecar).invoke({})["amount"]
