"""Rows in plain words: each kind says what happened, and what the record does not know is not made up."""

from __future__ import annotations

from typing import Any

import pytest

from governance.plane.explanation import sentence


def said(kind: str, body: Any, actor: str = "x") -> str:
    row = {"session": "s", "n": 1, "ts": 0, "kind": kind, "path": "n#1", "actor": actor, "body": body}
    return sentence(row, lambda session, digest: None)


LIMITS = [{"of": "session", "left": 7, "total": 9}]


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("node.begun", {"contract": "c"}, "Node x began, under the contract c."),
        ("node.begun", {"contract": "c", "policy": "p"}, "Node x began, under the contract c and the policy p."),
        ("model.reused", {}, "The model x was not asked again: what it had said here before was taken."),
        ("tool.reused", {}, "The tool x was not called again: what it had answered here before was taken."),
        ("effect.parked", {"reason": "nobody saw"}, "The effect x was set aside for a person to look into, because: nobody saw."),
        ("effect.fenced", {}, "The effect x ended too late: its lease had run out, and another run had judged it meanwhile."),
        (
            "effect.settled",
            {"effect": "0123456789", "tool": "pay", "finding": "happened", "reason": "I called the bank"},
            "x settled the effect pay (01234567): happened, because: I called the bank.",
        ),
        (
            "budget.settled",
            {"reserved": 5, "used": 2, "left": LIMITS},
            "For asking x, 5 tokens were set aside and 2 were used; session has 7 of 9 left.",
        ),
        (
            "budget.settled",
            {"reserved": 5, "used": 5, "unsettled": True, "left": []},
            "For asking x, 5 tokens were set aside and all count, as nobody said how many were used.",
        ),
        (
            "context.compacted",
            {"left_out": 40, "tokens": 2000, "shown": 900, "reason": "turns took more than 500 tokens"},
            "For asking x, 40 messages (2000 tokens) of its history are left out by now, because: turns took more than 500 tokens; 900 tokens are shown.",
        ),
        (
            "context.mended",
            {"mended": 2, "shortened": 0, "skipped": 1},
            "For asking x, 2 messages were mended, 1 turns were left out, so that the prompt is accepted and fits.",
        ),
        ("route.taken", {"to": ["a", "__end__"]}, "After x, the conditional edge went on to a and ended here."),
        ("route.taken", {"sent": {"w": 1, "v": 3}}, "After x, the conditional edge sent 1 message to w and sent 3 messages to v."),
        ("route.taken", {"to": []}, "After x, the conditional edge went nowhere."),
        ("new.kind", {"a": 1, "execution": "e"}, 'new.kind by x: {"a":1}.'),
        ("node.ended", "edited", "Node x ended after an unknown time and wrote None."),
    ],
)  # fmt: skip
def test_a_row_in_words(kind: str, body: Any, expected: str) -> None:
    assert expected == said(kind, body)


def test_a_payload_that_is_gone_is_said_to_be_gone() -> None:
    told = said("model.ended", {"tokens": 3, "us": 10, "answer": {"sha256": "0" * 64, "bytes": 3}})

    assert "The model x was asked: 3 tokens, 0.0 ms. Its answer is not kept any more." == told
