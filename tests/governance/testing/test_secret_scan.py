"""What counts as a secret, and what only looks a little like one."""

from __future__ import annotations

import pytest

from governance.testing.secret_scan import find_secret


@pytest.mark.parametrize(
    "text",
    [
        "sk-abc123",
        '{"key": "sk-proj-AbCdEf0123456789"}',
        '{"key": "\\u0073k-abcdef123456"}',
        b"key=sk-abcdef123456",
        "Authorization: Bearer abc.def-123",
        "authorization: bearer abcdef123456",
        "ghp_0123456789abcdefghijABCD",
        "gho_0123456789abcdefghijABCD",
        "github_pat_0123456789abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_keys_and_tokens_are_found(text: str | bytes) -> None:
    """Whatever surrounds it, and however JSON escapes it."""
    assert find_secret(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "disk-pressure on task-runner",
        "a risk-assessment",
        "the bearer of bad news",
        "gh_pages",
        "sk-SK",
        "",
    ],
)
def test_ordinary_words_are_not_secrets(text: str) -> None:
    """Names of an operations team must not stop a recording."""
    assert find_secret(text) is None


def test_values_of_key_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of a shape nobody knows is still known from the environment."""
    monkeypatch.setenv("ACME_API_KEY", 'quo"ted-value')

    assert "the value of ACME_API_KEY" == find_secret('{"k": "quo\\"ted-value"}')


@pytest.mark.parametrize("value", ["none", "short", ""])
def test_placeholders_of_key_variables_are_not_secrets(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Local endpoints take any key; the word one writes there may appear in prompts."""
    monkeypatch.setenv("ACME_API_KEY", value)

    assert find_secret(f"there is none, it is short: {value}") is None
