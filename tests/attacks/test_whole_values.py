"""Values that are large, deep or opaque: a digest depends on all of them, not on what they look like."""

from __future__ import annotations

import array
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from governance import Contract, Sidecar, SideEffect, canonical, declares, govern
from governance.errors import EffectInDoubt
from tests.attacks.answers import ALICE, CONFIG, asked, paying

numpy = pytest.importorskip("numpy")


class Opaque:
    """Its `repr` says nothing of what it holds."""

    def __init__(self, number: int) -> None:
        self.number = number


class Quiet(Opaque):
    def __repr__(self) -> str:
        return "Quiet(...)"


@dataclass
class Order:
    held: Any


def many(last: int) -> Any:
    amounts = numpy.zeros(5000, dtype=int)
    amounts[2500] = last
    return amounts


def nested(depth: int, last: Any) -> Any:
    """Deeper than the encoder goes, beside a number that it cannot write either."""
    value = last
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return [2**80, value]


VALUES: dict[str, Callable[[int], Any]] = {
    "an array": many,
    "a part of an array": lambda number: many(number)[1::3],
    "an array of objects": lambda number: numpy.array([number, None] * 1000, dtype=object),
    "an array of dates": lambda number: numpy.array([number] * 2000, dtype="datetime64[s]"),
    "a scalar": lambda number: numpy.int64(number),
    "an array of the standard library": lambda number: array.array("l", [0] * 5000 + [number]),
    "bytes": lambda number: bytearray([number]),
    "a view of bytes": lambda number: memoryview(bytes([number])),
    "an object": Opaque,
    "an object with words of its own": Quiet,
    "an object in a dataclass": lambda number: Order(Opaque(number)),
    "objects in a set": lambda number: {Decimal(number), Decimal(7)},
    "objects in a queue": lambda number: deque([Opaque(number)]),
    "an ordered mapping": lambda number: OrderedDict(a=many(number)),
    "something deep": lambda number: nested(60, number),
    "something very deep": lambda number: nested(3000, number),
    "an object far down": lambda number: nested(60, Opaque(number)),
}


@pytest.mark.parametrize("kind", list(VALUES))
def test_a_digest_depends_on_the_whole_value(kind: str) -> None:
    make = VALUES[kind]

    assert canonical.digest(make(1)) == canonical.digest(make(1)) != canonical.digest(make(2))


@pytest.mark.parametrize("value", [threading.Lock(), SecretStr("hunter2")], ids=["lock", "secret"])
def test_what_has_no_value_to_tell_has_no_digest_of_its_own(value: Any) -> None:
    """A lock cannot be compared, and the digest of a short secret gives it away."""
    assert "sha256" not in canonical.text(value)


def test_an_approval_covers_all_of_a_large_argument(sidecar: Sidecar, one: Any) -> None:
    paid, given = [], iter([0, 900])

    @tool
    def pay(amounts: Any) -> str:
        """Pay many."""
        paid.append(int(amounts.sum()))
        return "paid"

    graph = one(lambda s: {"out": pay.invoke({"amounts": many(next(given))})}, checkpointer=InMemorySaver())
    govern(graph, contracts={"n": paying()}, sidecar=sidecar)
    sidecar.approvals.decide(asked(graph), "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert [] == paid


def test_a_large_argument_approved_is_the_one_the_tool_gets(sidecar: Sidecar, one: Any) -> None:
    paid = []

    @tool
    def pay(amounts: Any) -> str:
        """Pay many."""
        paid.append(int(amounts.sum()))
        return "paid"

    graph = one(lambda s: {"out": pay.invoke({"amounts": many(7)})}, checkpointer=InMemorySaver())
    govern(graph, contracts={"n": paying()}, sidecar=sidecar)
    sidecar.approvals.decide(asked(graph), "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert [7] == paid


def test_another_object_at_a_finished_place_is_another_argument(sidecar: Sidecar, one: Any) -> None:
    sent: list[int] = []

    @declares(SideEffect("write"))
    @tool
    def send(parcel: Any) -> str:
        """Send."""
        sent.append(parcel.number)
        return "sent"

    numbers = iter([1, 2])

    def node(state: Any) -> None:
        send.invoke({"parcel": Opaque(next(numbers))})
        raise ConnectionError("the node dies")

    graph = one(node, checkpointer=InMemorySaver())
    govern(graph, contracts={"n": Contract(tools=["send"])}, sidecar=sidecar)
    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""}, CONFIG)
    with pytest.raises(EffectInDoubt):
        graph.invoke(None, CONFIG)

    assert [1] == sent
