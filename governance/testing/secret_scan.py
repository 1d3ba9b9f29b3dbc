"""Finds keys and tokens in what is about to be written to a cassette."""

from __future__ import annotations

import json
import os
import re

PATTERNS = {
    "an API key (sk-…)": re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{6,}"),
    "a bearer token": re.compile(r"\b[Bb]earer\s+[A-Za-z0-9._~+/=-]{6,}"),
    "a GitHub token": re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,})"),
    "an AWS access key": re.compile(r"(?<![A-Za-z0-9])AKIA[0-9A-Z]{16}(?![A-Za-z0-9])"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
SHORTEST_VALUE = 8


def find_secret(text: str | bytes) -> str | None:
    """Name the first secret in a text, or None; the name never contains the secret itself."""
    for view in _views(text):
        for name, pattern in PATTERNS.items():
            if pattern.search(view):
                return name
        for variable, value in _environment_keys():
            if value in view:
                return f"the value of {variable}"
    return None


def _environment_keys() -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, value in os.environ.items()
        if name.upper().endswith("_API_KEY") and len(value) >= SHORTEST_VALUE and value.lower() != "none"
    ]


def _views(text: str | bytes) -> list[str]:
    """The text as sent and, where it is JSON, with its escapes undone: `\\u0073k-` is a secret too."""
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        return [plain, "\n".join(_strings(json.loads(plain)))]
    except ValueError:
        return [plain]


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for side in pair for text in _strings(side)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return []
