"""Answers that an effect stands on: those before it in its own line of execution, and never those beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from governance.plane.answers import Answers, Said, leads
from governance.plane.control import Control


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    control = Control(tmp_path / "control.db")
    yield Answers(control)
    control.close()


def said(text: str, asked: str = "q", place: str = "s/n#1>model.0") -> Said:
    return Said(place, "s", asked, {"form": "one", "said": text})


def test_an_answer_is_said_again_once_an_effect_stands_on_it(answers: Answers) -> None:
    answers.keep(said("yes"))
    before = answers.at("s/n#1>model.0", "q")
    answers.lead("s", "s/n#1>pay.0")

    assert (None, {"form": "one", "said": "yes"}) == (before, answers.at("s/n#1>model.0", "q"))


def test_an_answer_that_an_effect_stands_on_is_not_replaced(answers: Answers) -> None:
    answers.keep(said("yes"))
    answers.lead("s", "s/n#1>pay.0")
    answers.keep(said("no"))

    assert {"form": "one", "said": "yes"} == answers.at("s/n#1>model.0", "q")


def test_another_question_at_the_same_place_has_an_answer_of_its_own(answers: Answers) -> None:
    answers.keep(said("yes"))
    answers.keep(said("no", asked="another"))
    answers.lead("s", "s/n#1>pay.0")

    assert ["yes", "no"] == [(answers.at("s/n#1>model.0", asked) or {})["said"] for asked in ("q", "another")]


def test_what_no_checkpoint_could_hold_is_not_kept(answers: Answers) -> None:
    answers.keep(Said("s/n#1>look.0", "s", "q", {"form": "tool", "said": (n for n in "abc")}))
    answers.lead("s", "s/n#1>pay.0")

    assert answers.at("s/n#1>look.0", "q") is None


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s/n#3>model.0", True),  # the same node
        ("s/n#3>pay.0>model.1", True),  # within a tool of it
        ("s/a#2>model.0", True),  # an earlier step
        ("s/a#2.s4/0:x#9>model.0", True),  # nested in an earlier step
        ("s/n#3/0:x#1>model.0", True),  # nested in the same node, before
        ("s/b#3>model.0", False),  # beside it
        ("s/n#3.s1>model.0", False),  # another branch of the same node
        ("s/b#3/0:x#1>model.0", False),  # nested beside it
        ("s/c#4>model.0", False),  # after it, in a fork that has been there already
        ("s/odd name>model.0", True),  # whatever cannot be told apart
    ],
)
def test_what_leads_to_an_effect_is_told_by_where_it_was_said(place: str, expected: bool) -> None:
    assert expected == leads(place, "s/n#3>pay.0")


@pytest.mark.parametrize(
    ("place", "expected"),
    [("s/n#3/0:x#1>model.0", True), ("s/n#3/0:x#2.s1>model.0", False), ("s/n#3/1:y#1>model.0", False)],
)
def test_within_a_nested_run_the_steps_of_that_run_count(place: str, expected: bool) -> None:
    assert expected == leads(place, "s/n#3/0:x#2.s0>pay.0")
