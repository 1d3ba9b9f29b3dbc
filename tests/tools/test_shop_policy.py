"""The written policy is the only place where the limits stand."""

from __future__ import annotations

import re

import pytest

from tools.shop_policy import PolicyError, load_policy, parse_policy


def test_limits_come_from_the_text() -> None:
    """A limit changed in the text is a limit changed in the code."""
    text = load_policy().text.replace("30 days ", "14 days ").replace("100.00 EUR", "75.50 EUR")

    policy = parse_policy(text)

    assert (14, 7550) == (policy.refund_window_days, policy.person_above_cents)


def test_prose_repeats_no_limit() -> None:
    """Outside its table the policy names no number of days or money that could come to differ."""
    prose = [line for line in load_policy().text.splitlines() if not line.startswith("|")]

    assert [] == re.findall(r"\d+(?:\.\d+)? *(?:days?|EUR|euros?|cents?)", "\n".join(prose))


def test_policy_fits_one_screen() -> None:
    """A person reads the whole policy without scrolling twice."""
    assert len(load_policy().text.splitlines()) <= 50


def test_limit_itself_needs_no_person() -> None:
    """A person decides above the limit, not at it."""
    policy = load_policy()

    assert [False, True] == [policy.needs_person(policy.person_above_cents + more) for more in (0, 1)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("| Refund window ", "| Window ", "one row '| Refund window | 30 days |'"),
        ("30 days", "a month", "must read like '30 days', found 'a month'"),
        ("100.00 EUR", "100 EUR", "must read like '100.00 EUR', found '100 EUR'"),
    ],
)
def test_unreadable_limit_is_an_error(old: str, new: str, message: str) -> None:
    """A limit that cannot be read stops the shop and says what was expected."""
    with pytest.raises(PolicyError, match=re.escape(message)):
        parse_policy(load_policy().text.replace(old, new))
