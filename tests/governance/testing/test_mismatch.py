"""The message that a person reads when a request was never recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vcr.request import Request

from governance.testing.identity import identify
from governance.testing.mismatch import explain

TAPE = Path("tape.yaml")


def request(body: Any, *, uri: str = "http://h/v1/chat/completions") -> Any:
    return Request("POST", uri, json.dumps(body).encode(), {"content-type": "application/json"})


def message(asked: Any, *recorded: Any, key: str | None = None, played: bool = False) -> str:
    known = [(old, identify(old, None), played) for old in recorded]
    return explain(TAPE, asked, identify(asked, key), known)


def test_the_fewest_differences_win() -> None:
    """Of several recordings the one with the least to change is shown."""
    text = message(request({"a": 1, "b": 2}), request({"a": 5, "b": 6}), request({"a": 1, "b": 3}))

    assert "recording 2 of 2" in text
    assert "body.b\n    recorded: 3\n    now:      2" in text


def test_added_and_removed_parts_are_named() -> None:
    """A message more or an option less is shown at its place."""
    text = message(request({"messages": ["x", "y"]}), request({"messages": ["x"], "seed": 1}))

    assert 'body.messages[1]\n    recorded: (absent)\n    now:      "y"' in text
    assert "body.seed\n    recorded: 1\n    now:      (absent)" in text


def test_long_texts_are_cut_to_where_they_differ() -> None:
    """A prompt of a thousand words shows the words that changed."""
    long = "word " * 1000
    text = message(request({"prompt": f"{long}new end"}), request({"prompt": f"{long}old end"}))

    assert "old end" in text and "new end" in text
    assert len(text) < 600


def test_scheme_path_and_caller_key_are_compared() -> None:
    """It is not always the body."""
    old = request({"a": 1}, uri="https://h/v2/chat/completions")
    text = message(request({"a": 1}), old, key="node-b")

    assert "scheme\n    recorded: 'https'\n    now:      'http'" in text
    assert "path\n    recorded: '/v2/chat/completions'\n    now:      '/v1/chat/completions'" in text
    assert "caller key\n    recorded: None\n    now:      'node-b'" in text


def test_many_differences_are_counted() -> None:
    """The message stays short."""
    text = message(request({str(n): n for n in range(9)}), request({str(n): -1 for n in range(9)}))

    assert "and 4 more place(s)" in text


def test_an_empty_cassette_says_so() -> None:
    """There is nothing near to show."""
    assert "the cassette is empty" in message(request({}))


def test_a_number_and_a_text_of_it_differ() -> None:
    """`1` and `"1"` look alike only to people."""
    assert 'recorded: "1"\n    now:      1' in message(request({"a": 1}), request({"a": "1"}))
