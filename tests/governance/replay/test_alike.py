"""What counts as the same: ids in pairs, moments within their sessions, and everything else only where it is equal."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from governance.plane.redaction import Redaction
from governance.replay.alike import Likeness, Pairs
from governance.replay.moments import Window
from governance.replay.values import tree

THEN, NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC), datetime(2026, 9, 2, 18, 30, tzinfo=UTC)


@pytest.fixture
def likeness() -> Likeness:
    """A record of ten minutes in March, and a replay of as many in September."""
    windows = [Window(at.timestamp(), lambda at=at: at.timestamp() + 600) for at in (THEN, NOW)]
    return Likeness(Pairs(), *windows)


def same(likeness: Likeness, recorded: Any, came: Any) -> bool:
    plain = Redaction()
    return likeness.difference(tree(recorded, plain), tree(came, plain)) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda at: at,
        lambda at: at.isoformat(),
        lambda at: at.strftime("%Y-%m-%d %H:%M"),
        lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        lambda at: at.replace(tzinfo=None).isoformat(),
        lambda at: at.date(),
        lambda at: str(at.date()),
        lambda at: at.timestamp(),
        lambda at: int(at.timestamp()),
        lambda at: int(at.timestamp() * 1000),
        lambda at: int(at.timestamp() * 1e9),
        lambda at: f"written at {at.isoformat()} by me",
        lambda at: f"after {int(at.timestamp())} seconds",
        lambda at: {"deep": [{"at": at}]},
    ],
)
def test_a_moment_is_the_same_within_both_sessions_and_in_no_other(likeness: Likeness, make: Any) -> None:
    inside, days = timedelta(minutes=3), timedelta(days=3)

    assert same(likeness, make(THEN + inside), make(NOW + inside))
    assert not same(likeness, make(THEN - days), make(NOW + inside))
    assert not same(likeness, make(THEN + inside), make(NOW - days))
    assert same(likeness, make(THEN - days), make(THEN - days))


def test_an_hour_off_is_not_the_same(likeness: Likeness) -> None:
    assert not same(likeness, THEN.timestamp(), NOW.timestamp() - 3600)
    assert not same(likeness, THEN, NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: str(uuid.uuid4()),
        lambda: uuid.uuid4(),
        lambda: uuid.uuid4().hex,
        lambda: str(uuid.uuid1()),
        lambda: f"order {uuid.uuid4()} of run-{uuid.uuid4()}",
        lambda: {"id": str(uuid.uuid4())},
        lambda: {str(uuid.uuid4()): 1, "x": 2},
        lambda: HumanMessage("x", id=str(uuid.uuid4())),
    ],
)
def test_generated_ids_stand_for_each_other(likeness: Likeness, make: Any) -> None:
    assert same(likeness, make(), make())


def test_an_id_has_one_partner_and_keeps_it(likeness: Likeness) -> None:
    a, b, x, y = (str(uuid.uuid4()) for _ in range(4))

    assert same(likeness, [a, b, a], [x, y, x])
    assert same(likeness, a, x)
    assert not same(likeness, a, y)
    assert not same(likeness, a, str(uuid.uuid4()))


def test_ids_that_are_mixed_up_in_one_value_are_not_the_same(likeness: Likeness) -> None:
    a, b, x = (str(uuid.uuid4()) for _ in range(3))

    assert not same(likeness, [a, b], [x, x])
    assert not same(likeness, [a, a], [x, b])


def test_a_comparison_that_fails_makes_no_pairs(likeness: Likeness) -> None:
    a, x, y = (str(uuid.uuid4()) for _ in range(3))

    assert not same(likeness, [a, 1], [x, 2])
    assert same(likeness, a, y)


def test_an_id_that_the_replay_was_given_stands_for_itself_alone(likeness: Likeness) -> None:
    given, other = str(uuid.uuid4()), str(uuid.uuid4())
    likeness.pairs.given({"order": f"order {given}"})

    assert same(likeness, given, given)
    assert not same(likeness, given, other)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: hashlib.sha256(str(n).encode()).hexdigest(),
        lambda n: hashlib.sha1(str(n).encode()).hexdigest(),
        lambda n: str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))),
        lambda n: f"{n} seconds",
        lambda n: n / 3,
        lambda n: [n],
        lambda n: {str(n): 1},
        lambda n: n == 1,
        lambda n: bytes([n]),
        lambda n: date(2020, 1, n),
        lambda n: (n,),
        lambda n: {n, 7},
        lambda n: HumanMessage(str(n)),
    ],
)
def test_everything_else_has_to_be_equal(likeness: Likeness, make: Any) -> None:
    assert same(likeness, make(1), make(1))
    assert not same(likeness, make(1), make(2))


@pytest.mark.parametrize(("recorded", "came"), [(1, True), (0, False), (1, "1"), (None, ""), ([], {}), ("", [])])
def test_values_of_another_type_are_not_the_same(likeness: Likeness, recorded: Any, came: Any) -> None:
    assert not same(likeness, recorded, came)


def test_where_two_values_differ_is_told_with_both_sides(likeness: Likeness) -> None:
    found = likeness.difference({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]})

    assert found is not None and ("a[0].b", "x", "y") == (found.where, found.recorded, found.came)


@pytest.mark.parametrize(("recorded", "came"), [([1, 2], [1]), ([1], [1, 2]), ({"a": 1}, {}), ({}, {"a": 1})])
def test_what_one_side_lacks_is_a_difference(likeness: Likeness, recorded: Any, came: Any) -> None:
    found = likeness.difference(recorded, came)

    assert found is not None and "nothing" in (repr(found.recorded), repr(found.came))


def test_an_order_of_a_set_is_no_difference(likeness: Likeness) -> None:
    assert same(likeness, {"b", "a", "c"}, {"c", "b", "a"})


def test_an_id_of_the_record_becomes_that_of_the_replay_in_what_is_given(likeness: Likeness) -> None:
    a, x = str(uuid.uuid4()), str(uuid.uuid4())
    assert same(likeness, a, x)

    assert {"order": [x], x: f"<{x}>"} == likeness.pairs.forward({"order": [a], a: f"<{a}>"})
    assert f'{{"id":"{x}"}}'.encode() == likeness.pairs.forward_bytes(f'{{"id":"{a}"}}'.encode())
    assert x == likeness.pairs.forward(HumanMessage("x", id=a)).id
