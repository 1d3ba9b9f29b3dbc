"""Counts tokens exactly (`bpe-openai`, o200k), once per message: a step costs what is new.

Providers add a few tokens around each message; the counts here follow OpenAI's published rule of
three per message and three for the answer, and are settled against the provider's own usage.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import cache
from typing import Any

import bpe_openai

from governance import canonical

PER_MESSAGE = 3
PIECE = 200_000
"""Characters encoded at once; the encoder refuses a million."""
CACHED = 50_000


@cache
def _encoding() -> Any:
    return bpe_openai.get_encoding("o200k_base")


def count_text(text: str) -> int:
    """Tokens of a text of any length."""
    encoding = _encoding()
    return sum(len(encoding.encode_ordinary(text[i : i + PIECE])) for i in range(0, len(text), PIECE))


class MessageCounter:
    """Tokens of chat messages; a message seen before (same content) is not counted again."""

    def __init__(self, kept: int = CACHED) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._known: dict[Any, int] = {}

    def count(self, messages: Iterable[Any]) -> int:
        return 3 + sum(self._one(message) for message in messages)

    def options(self, options: Any) -> int:
        """Tokens of tool definitions and a response format, which are part of every prompt."""
        shown = {k: options[k] for k in ("tools", "functions", "response_format") if options.get(k)}
        return self._remember(("options", canonical.text(shown)), canonical.text(shown)) if shown else 0

    def _one(self, message: Any) -> int:
        content = message.content
        calls = getattr(message, "tool_calls", None)
        if isinstance(content, str) and not calls:
            return PER_MESSAGE + self._remember(content, content)
        text = canonical.text([content, calls])
        return PER_MESSAGE + self._remember(text, text)

    def _remember(self, key: Any, text: str) -> int:
        known = self._known.get(key)
        if known is None:
            known = count_text(text)
            with self._lock:
                if len(self._known) >= self._kept:
                    self._known.clear()
                self._known[key] = known
        return known
