"""What is refused: requests nobody recorded, recordings nobody plays, damaged files, secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from governance.testing.cassettes import (
    CassetteMiss,
    CassetteMissing,
    CassetteUnreadable,
    CassetteUnused,
    RecordingRefused,
    SecretFound,
    recording,
    replaying,
)
from governance.testing.server import FaultyServer, ok

ELSEWHERE = "http://elsewhere.invalid/v1"


def test_an_unknown_request_shows_the_nearest_recording(tape: Path, model: Any) -> None:
    """The message names the file, the nearest recording and the part of the body that differs."""
    with FaultyServer(ok("Berlin"), ok("Rome")) as server, recording(tape):
        client = model(server.base_url)
        client.invoke("capital of Germany?")
        client.invoke("capital of Italy?")
    with pytest.raises(CassetteMiss) as miss, replaying(tape):
        model(ELSEWHERE).invoke("capital of Spain?")

    message = str(miss.value)
    assert str(tape) in message
    assert 'body.messages[0].content\n    recorded: "capital of Germany?"\n    now:      "capital of Spain?"' in message


def test_a_request_sent_once_too_often_is_told_so(tape: Path, model: Any) -> None:
    """A recording answers once; the message says that all of its kind were played."""
    with FaultyServer(ok("yes")) as server, recording(tape):
        model(server.base_url).invoke("a")
    with pytest.raises(CassetteMiss, match=r"recorded 1 time.* all of them were played"), replaying(tape):
        model(ELSEWHERE).invoke("a")
        model(ELSEWHERE).invoke("a")


def test_a_swallowed_miss_still_fails_the_run(tape: Path, model: Any) -> None:
    """A node that catches everything cannot hide that its question was never recorded."""
    with FaultyServer(ok("yes")) as server, recording(tape):
        model(server.base_url).invoke("a")
    with pytest.raises(CassetteMiss), replaying(tape):
        model(ELSEWHERE).invoke("a")
        with pytest.raises(CassetteMiss):
            model(ELSEWHERE).invoke("b")


def test_unused_recordings_fail_the_run(tape: Path, model: Any) -> None:
    """A run that asks less than was recorded is not the run that was recorded."""
    with FaultyServer(ok("yes"), ok("no")) as server, recording(tape):
        model(server.base_url).invoke("a")
        model(server.base_url).invoke("b")
    with (
        pytest.raises(CassetteUnused, match=r"1 of 2 recordings .* never played \(number 2\)"),
        replaying(tape),
    ):
        model(ELSEWHERE).invoke("a")


def test_a_missing_cassette_says_how_to_record_it(tape: Path) -> None:
    """Nothing is replayed from nothing."""
    with (
        pytest.raises(CassetteMissing, match=r"there is no cassette at .*tape\.yaml.*record it"),
        replaying(tape),
    ):
        pass


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"interactions: [", b"- 1\n", b"version: 1\n", b"version: 7\ninteractions: []\n",
     b"version: 1\ninteractions:\n- request: {method: GET}\n", b"version: 1\ninteractions: [3]\n"],
)  # fmt: skip
def test_a_damaged_cassette_is_named_in_one_line(tape: Path, content: bytes) -> None:
    """The error names the file and says what to do, whatever is wrong inside."""
    tape.write_bytes(content)
    with pytest.raises(CassetteUnreadable) as error, replaying(tape):
        pass

    message = str(error.value)
    assert "\n" not in message
    assert str(tape) in message and "restore it from version control, or record it again" in message


def test_a_secret_in_a_request_is_never_sent_nor_written(tape: Path, model: Any) -> None:
    """The request is refused before it leaves."""
    with FaultyServer(ok("yes")) as server, pytest.raises(SecretFound, match="API key"), recording(tape):
        model(server.base_url).invoke("my key is sk-abcdef1234567890")

    assert [] == server.requests
    assert not tape.exists()


def test_a_secret_in_an_answer_is_not_written(tape: Path, model: Any) -> None:
    """Nothing of the conversation is stored when one answer holds a token."""
    script = [ok("fine"), ok("use Bearer abcdef123456")]
    with FaultyServer(*script) as server, pytest.raises(SecretFound, match="bearer token"), recording(tape):
        model(server.base_url).invoke("a")
        model(server.base_url).invoke("b")

    assert not tape.exists()


def test_a_swallowed_secret_still_prevents_the_recording(tape: Path, model: Any) -> None:
    """An error handler around the call does not make the file safe."""
    with FaultyServer(ok("yes")) as server, pytest.raises(SecretFound), recording(tape):
        model(server.base_url).invoke("a")
        with pytest.raises(SecretFound):
            model(server.base_url).invoke("ghp_abcdefghijklmnopqrst0123")

    assert not tape.exists()


def test_the_value_of_a_key_variable_is_a_secret(tape: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of any shape are known from the environment; their value is not repeated in the message."""
    monkeypatch.setenv("ACME_API_KEY", "correct horse battery")
    with FaultyServer(ok("yes")) as server, pytest.raises(SecretFound) as error, recording(tape):
        model(server.base_url).invoke("the password is correct horse battery")

    assert "ACME_API_KEY" in str(error.value)
    assert "correct horse battery" not in str(error.value)


def test_headers_and_hosts_are_not_stored(tape: Path, model: Any) -> None:
    """The authorisation header never reaches the file, nor does the address of the endpoint."""
    with FaultyServer(ok("yes")) as server, recording(tape):
        model(server.base_url).invoke("a")

    text = tape.read_text()
    assert "authorization" not in text.lower()
    assert "127.0.0.1" not in text


def test_a_failed_run_leaves_the_old_recording(tape: Path, model: Any) -> None:
    """Recording again replaces the file only when the run went through."""
    with FaultyServer(ok("old")) as server, recording(tape):
        model(server.base_url).invoke("a")
    before = tape.read_bytes()
    with FaultyServer(ok("new")) as server, pytest.raises(ValueError, match="half-way"), recording(tape):
        model(server.base_url).invoke("a")
        raise ValueError("half-way")

    assert before == tape.read_bytes()
    assert [tape.name] == os.listdir(tape.parent)


def test_a_run_without_requests_is_not_recorded(tape: Path) -> None:
    """An empty cassette would only hide that nothing was asked."""
    with pytest.raises(RecordingRefused, match="sent no request"), recording(tape):
        pass


def test_an_unanswered_request_is_reported_while_recording(tape: Path, model: Any) -> None:
    """Timeouts are no part of the file, and the person who records is told."""
    from governance.testing.server import malformed_json, timeout

    with (
        FaultyServer(malformed_json(), timeout()) as server,
        pytest.warns(UserWarning, match="got no answer"),
    ):
        with recording(tape):
            with pytest.raises(ValueError):
                model(server.base_url).invoke("a")
            with pytest.raises(Exception, match="timed out"):
                model(server.base_url).bind(timeout=0.1).invoke("b")


def test_an_error_after_a_swallowed_miss_mentions_it(tape: Path, model: Any) -> None:
    """The assertion that fails later is explained by the question that had no answer."""
    with FaultyServer(ok("yes")) as server, recording(tape):
        model(server.base_url).invoke("a")
    with pytest.raises(KeyError) as error, replaying(tape):
        with pytest.raises(CassetteMiss):
            model(ELSEWHERE).invoke("b")
        raise KeyError("answer")

    assert "no recording in" in error.value.__notes__[0]
