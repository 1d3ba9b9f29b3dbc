"""What rules count is what came within their seconds, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance import load_policy
from governance.errors import PolicyError
from governance.plane import halt_rules
from governance.plane.halt_rules import SLICES, HaltCounts, Spread, Tally
from governance.policy_halts import HaltRule

EVENTS = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 1000)), min_size=1, max_size=60)


class Lifts:
    """A control file in which stops of this name were lifted at this time."""

    at = 0.0

    def lifted(self, scope: str, name: str) -> float:
        return self.at


@given(EVENTS)
def test_a_tally_is_the_sum_of_the_last_seconds_to_a_sixtieth(steps: list[tuple[float, int]]) -> None:
    tally, now, past = Tally(60.0, 0.0), 0.0, []
    for wait, amount in steps:
        now += wait
        past.append((now, amount))
        found = tally.add(now, amount, "")

        assert found <= sum(one for at, one in past if at > now - 60.001)
        assert found >= sum(one for at, one in past if at > now - 60 + 60 / SLICES + 0.001)
    assert len(tally._slices) <= SLICES + 1


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from("abcd")), min_size=1, max_size=60))
def test_a_spread_is_the_number_of_places_of_the_last_seconds(steps: list[tuple[float, str]]) -> None:
    spread, now, past = Spread(60.0, 0.0), 0.0, []
    for wait, place in steps:
        now += wait
        past.append((now, place))

        assert len({one for at, one in past if at > now - 60}) == spread.add(now, 1, place)


def test_what_was_counted_before_a_lifting_is_over() -> None:
    lifts: Any = Lifts()
    counts, rule = HaltCounts(lifts, lambda: 1.0), HaltRule(when="errors", over=2)

    assert [None, None] == [counts.count(rule, "t", 1, "n") for _ in range(2)]
    lifts.at = 5.0
    assert [None, None, 3] == [counts.count(rule, "t", 1, "n") for _ in range(3)]
    assert counts.count(rule, "t", 1, "n") is None


def test_the_sessions_heard_of_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halt_rules, "MOST", 10)
    lifts: Any = Lifts()
    counts, rule = HaltCounts(lifts, lambda: 1.0), HaltRule(when="errors", over=2)
    for number in range(100):
        counts.count(rule, "kept", 0, "n")
        counts.count(rule, str(number), 1, "n")

    assert 10 == len(counts._known)
    assert (rule, "kept") in counts._known


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[halt]]\nwhen = 'spend'", r"sidecar.toml:1: \[halt\] needs over"),
        ("[[halt]]\nover = 1\nwhen = 'errors'\n[[halt]]\n", r"sidecar.toml:4: \[halt\] needs when and over"),
        ("[[halt]]\nover = 1\nwhen = 'error'", r"sidecar.toml:3: \[halt\] when must be one of spend, errors"),
        ("[[halt]]\nover = 1\nwhen = 'spend'\nof = 'tool'", r"toml:4: \[halt\] of must be one of session, agent"),
        ("[[halt]]\nover = 1\nwhen = 'spread'\nof = 'agent'", r"toml:4: \[halt\] of must be one of session, tenant"),
        ("[[halt]]\nover = 0\nwhen = 'spend'", r"sidecar.toml:2: halt.over must be a whole number above 0"),
        ("[[halt]]\nover = 1\nwhen = 'spend'\nwithn = 1", r"sidecar.toml:4: unknown key 'withn' in \[halt\]"),
        ("[halt]\nover = 1\nwhen = 'spend'", r"sidecar.toml:1: write \[\[halt\]\]: there may be several"),
        ("halt = [1]", r"sidecar.toml:1: \[halt\] must be a table, not 1"),
    ],
)
def test_a_mistake_in_a_rule_is_named_by_its_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "sidecar.toml"
    path.write_text(text)

    with pytest.raises(PolicyError, match=words):
        load_policy(path)


def test_rules_are_read_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.toml"
    path.write_text('[[halt]]\nwhen = "spend"\nover = 5\nwithin = 2\nof = "all"\n[[halt]]\nwhen = "errors"\nover = 1\n')

    assert (HaltRule(when="spend", over=5, within=2.0, of="all"), HaltRule(when="errors", over=1)) == load_policy(
        path
    ).halt
