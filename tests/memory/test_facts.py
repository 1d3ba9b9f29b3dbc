"""Facts have two times: when they held, and when that was known. Nothing is overwritten."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memory import Facts, TieredStore

US = ("us",)
START = datetime(2024, 1, 1, tzinfo=UTC)


def day(n: float) -> datetime:
    return START + timedelta(days=n)


@pytest.fixture
def facts(file: Path, clock: Any) -> Iterator[Facts]:
    clock.at = START.timestamp()
    with TieredStore(file, clock=clock) as store:
        yield store.facts


def homes(facts: Facts, **when: Any) -> list[str]:
    return [fact.object for fact in facts.about(US, ["Ada"], **when)]


def test_a_new_home_ends_the_old_one_and_keeps_it(facts: Facts, clock: Any) -> None:
    facts.add(US, "Ada", "lives in", "Kiel", valid_at=day(-100))
    clock.pass_minutes(60 * 24 * 10)
    facts.add(US, "Ada", "lives in", "Bremen", valid_at=day(5), instead=True)

    assert ["Bremen"] == homes(facts)
    assert ["Kiel"] == homes(facts, as_of=day(4))
    assert ["Kiel"] == homes(facts, as_of=day(8), known_at=day(9))  # nobody had told us yet
    assert [] == homes(facts, as_of=day(-200))


def test_no_longer_true_is_not_never_true(facts: Facts, clock: Any) -> None:
    facts.add(US, "Ada", "works at", "the harbour", valid_at=day(-9))
    clock.pass_minutes(60 * 24)

    ended = facts.invalidate(US, "Ada", "works at", at=day(-2))

    assert (1, [], ["the harbour"]) == (ended, homes(facts), homes(facts, as_of=day(-3)))
    assert ["the harbour"] == homes(facts, known_at=day(0))


def test_unrelated_facts_retire_nothing(facts: Facts) -> None:
    facts.add(US, "Ada", "likes", "tea")
    facts.add(US, "Ada", "likes", "rain")
    facts.add(US, "Bo", "lives in", "Kiel")
    facts.add(("them",), "Ada", "lives in", "Rome")
    facts.add(US, "Ada", "lives in", "Kiel", instead=True)

    assert ["rain", "tea", "Kiel"] == homes(facts)


def test_a_fact_said_again_gains_sources_and_stays_one(facts: Facts) -> None:
    for source in ("m1", "m2", "m1"):
        facts.add(US, "Ada", "likes", "Tea", sources=[source])
    facts.add(US, "ada", "likes", "tea", sources=["m2"])

    assert [("Tea", ("m1", "m2"))] == [(fact.object, fact.sources) for fact in facts.about(US)]


def test_every_time_of_a_long_history_has_its_answer(facts: Facts, clock: Any) -> None:
    """2,000 changes, asked about at times in the world and at times of knowing, against a history kept by hand."""
    rng = random.Random(11)
    history = list[tuple[datetime, str, datetime, str]]()  # known at, subject, valid at, object
    for n in range(2_000):
        clock.pass_minutes(60)
        subject, since = f"s{rng.randrange(100)}", datetime.fromtimestamp(clock.at, UTC)
        history.append((since, subject, since, f"o{n}"))
        facts.add(US, subject, "is", f"o{n}", valid_at=since, instead=True)

    wrong = 0
    for _ in range(500):
        subject, at, known = f"s{rng.randrange(100)}", day(rng.random() * 84), day(rng.random() * 84)
        told = [(valid, what) for seen, who, valid, what in history if who == subject and seen <= known and valid <= at]
        expected = [max(told)[1]] if told else []
        wrong += expected != [fact.object for fact in facts.about(US, [subject], as_of=at, known_at=known)]

    assert 0 == wrong


def test_the_neighbourhood_is_a_graph_of_what_held_and_has_an_end(facts: Facts) -> None:
    for a, b in [("Ada", "Bo"), ("Bo", "Cy"), ("Cy", "Di"), ("Eve", "bo")]:
        facts.add(US, a, "knows", b, valid_at=day(-5))
    facts.invalidate(US, "Bo", "knows", "Cy", at=day(-1))

    now = facts.around(US, ["ada"], hops=3)
    then = facts.around(US, ["Ada"], hops=3, as_of=day(-2))

    assert {("Ada", "Bo"), ("Eve", "bo")} == set(now.edges())
    assert {("Ada", "Bo"), ("Bo", "Cy"), ("Cy", "Di"), ("Eve", "bo")} == set(then.edges())
    assert 2 == facts.around(US, ["Ada"], hops=3, as_of=day(-2), most=2).number_of_edges()
