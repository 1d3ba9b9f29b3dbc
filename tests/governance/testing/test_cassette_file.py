"""A cassette's text: readable, and what is read is what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vcr.request import Request

from governance.testing import cassette_file
from governance.testing.cassettes import replaying
from governance.testing.identity import body_of

EXAMPLE = Path(__file__).parents[3] / "cassettes" / "testing" / "weather.yaml"


def interaction(asked: bytes = b"", answered: bytes = b"", **headers: str) -> tuple[Any, dict[str, Any]]:
    response = {
        "status": {"code": 200, "message": "OK"},
        "headers": {name: [value] for name, value in headers.items()},
        "body": {"string": answered},
    }
    return Request("POST", "http://10.1.2.3:8080/v1/x?a=1", asked, headers), response


def round_trip(path: Path, asked: bytes, answered: bytes) -> tuple[bytes, bytes]:
    cassette_file.write(path, [interaction(asked, answered)])
    [(request, response)] = cassette_file.read(path)
    return body_of(request), response["body"]["string"]


@pytest.mark.parametrize(
    "body",
    [
        b"data: one\n\ndata: two\r\n\r\n",
        b"trailing blank \n\n",
        b"\n leading",
        "line\u2028separator\x85\n".encode(),
        b"\xff\xd8\xff\x00binary",
        b"\x00\x07control",
        b"'quoted' \"text\": - #",
        b"",
        b"null",
        b"12",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
    ],
)
def test_bodies_survive_byte_for_byte(tmp_path: Path, body: bytes) -> None:
    """Event streams, binary data and JSON that cannot be parsed without loss stay as they are."""
    assert (body, body) == round_trip(tmp_path / "tape.yaml", body, body)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_body_survives(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    """Whatever a server sends, the replay sends it, with JSON perhaps spaced differently."""
    asked, answered = round_trip(tmp_path_factory.getbasetemp() / "any.yaml", body, body)

    assert asked == answered
    assert body == asked or json.loads(body) == json.loads(asked)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=10), JSON, max_size=4))
def test_any_json_survives(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    """Strings that look like dates, numbers or booleans of YAML stay strings."""
    body = json.dumps(value).encode()
    asked, answered = round_trip(tmp_path_factory.getbasetemp() / "json.yaml", body, body)

    assert value == json.loads(asked) == json.loads(answered)


def test_json_is_laid_out_for_people() -> None:
    """A prompt of several lines reads like one, and keys keep their order."""
    body = json.dumps({"z": "first\nsecond", "a": "größer"}, ensure_ascii=False).encode()
    text = cassette_file.render([interaction(body)])

    assert "parsed_body:\n      z: |-\n        first\n        second\n      a: größer\n" in text


def test_only_harmless_headers_are_kept() -> None:
    """Cookies, keys and organisation ids are not on the list, so they are not in the file."""
    headers = {"Authorization": "x1", "Set-Cookie": "x2", "X-Organization": "x3", "Retry-After": "x4"}
    text = cassette_file.render([interaction(**headers)])

    assert ["x4"] == [value for value in headers.values() if value in text]


def test_the_host_is_replaced() -> None:
    """Nobody reads from a repository where its tests were recorded."""
    text = cassette_file.render([interaction()])

    assert "uri: http://recorded.invalid/v1/x?a=1" in text
    assert "10.1.2.3" not in text


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cassette is replaced whole or not at all, and nothing is left beside it."""
    tape = tmp_path / "tape.yaml"
    tape.write_text("old")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(cassette_file.os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        cassette_file.write(tape, [interaction()])

    assert ("old", [tape]) == (tape.read_text(), list(tmp_path.iterdir()))


def test_a_cassette_in_the_repository_replays(model: Any) -> None:
    """Files recorded by earlier versions are read by this one."""
    with replaying(EXAMPLE) as player:
        client = model(player.base_url)
        question = "What is the weather in Oslo?"
        answer = client.invoke(question)
        streamed = "".join(chunk.content for chunk in client.stream(question))

    assert "Rain,\nas usual." == answer.content == streamed
