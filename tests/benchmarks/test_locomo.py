"""The benchmark of recall reads conversations in LoCoMo's form, and counts a hit where the answering turn is found."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from benchmarks.locomo import System, answers, conversations, figures
from tests.memory.dialogue import QUESTIONS, SESSIONS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The dialogue of the tests of recall, written as LoCoMo writes its own."""
    talk: dict[str, object] = {}
    for n, (day, said) in enumerate(SESSIONS, 1):
        talk[f"session_{n}_date_time"] = f"1:56 pm on {date.fromisoformat(day):%-d %B, %Y}"
        talk[f"session_{n}"] = [
            {"speaker": text.split(": ")[0], "text": text.split(": ", 1)[1], "dia_id": f"D{n}:{m}"}
            for m, text in enumerate(said, 1)
        ]
    asked = [
        {"question": question, "category": 4, "evidence": ["D{}:{}".format(*(int(x) + 1 for x in key.split(":")))]}
        for question, key in QUESTIONS.items()
    ]
    unanswerable = {"question": "Who?", "category": 5, "evidence": ["D99:1"]}
    target = tmp_path / "locomo.json"
    target.write_text(json.dumps([{"conversation": talk, "qa": [*asked, unanswerable]}]))
    return target


def test_questions_whose_evidence_exists_are_asked_and_most_are_answered(file: Path) -> None:
    system = System()
    shown = figures(list(answers(system, file, most=None)))
    system.close()
    [(turns, questions)] = conversations(file)

    assert (len(QUESTIONS), sum(len(said) for _, said in SESSIONS)) == (len(questions), len(turns))
    assert len(QUESTIONS) == shown["questions"] and shown["r10"] > 0.75 and shown["mrr"] > 0.5


def test_a_result_names_the_turn_that_it_is(file: Path) -> None:
    system = System()
    [(turns, _)] = conversations(file)
    system.add_many("one", turns)
    found = system.search("one", "What is the name of Tom's cat?", 3)
    elsewhere = system.search("two", "What is the name of Tom's cat?", 3)
    system.close()

    assert ("D3:4", []) == (found[0]["id"], elsewhere)
