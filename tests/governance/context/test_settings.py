"""How much may be shown: settings that make sense, and marks that follow from them."""

from __future__ import annotations

from typing import Any

import pytest

from governance import Context
from governance.errors import ContractError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Context needs `tokens` for the whole prompt, or `history` for what follows the system prompt"),
        ({"tokens": 10}, "Context.tokens must be a whole number of at least 200, not 10"),
        ({"history": 4.5}, "Context.history must be a whole number of at least 200, not 4.5"),
        ({"history": 900, "low": 0.7}, r"Context.low must be less than high \(0.55\), not 0.7"),
        ({"history": 900, "recall": -1}, "Context.recall is a part of the history, from 0 to 1, not -1"),
        (
            {"history": 900, "high": 0.9},
            "Context.high, summary and recall are parts of the history: together at most 1",
        ),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        Context(**given)


def test_the_history_is_what_the_rest_of_the_prompt_leaves() -> None:
    context = Context(tokens=8_000, history=5_000)

    assert [5_000, 5_000, 3_000] == [marks.history for at in (0, 3_000, 5_000) if (marks := context.marks(at))]
    assert context.marks(7_900) is None


def test_a_few_tokens_more_in_the_system_prompt_do_not_move_the_cut() -> None:
    context = Context(tokens=8_000)

    assert context.marks(3_001) == context.marks(3_009)
