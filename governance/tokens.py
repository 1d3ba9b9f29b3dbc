"""Counts tokens exactly (`bpe-openai`, o200k), once per message: a step costs what is new.

Providers add a few tokens around each message; the counts here follow OpenAI's published rule of
three per message and three for the answer, and are settled against the provider's own usage. What is
no text is counted by the most that providers say it costs, so that nothing is over a limit unseen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import bpe_openai

from governance import canonical

PER_MESSAGE = 3
PER_ANSWER = 3
PIECE = 200_000
"""Characters encoded at once; the encoder refuses a million."""
CACHED = 50_000
HELD = 50_000_000
"""Characters of the texts whose counts are remembered."""
PICTURE, SMALL_PICTURE = 1_600, 85
"""The most that a picture costs, and one that is sent with `detail: low`."""
PER_TOKEN = 8
"""Characters of data (base64: a sound, a document) that are taken for a token."""
DATA = ("image_url", "input_image", "image", "audio", "input_audio", "file", "input_file", "video", "document", "media")
PICTURES = ("image_url", "input_image", "image")
CALLS = ("tool_use", "tool_call", "function_call")
"""Parts that say again what stands in a message's `tool_calls`."""


@cache
def _encoding() -> Any:
    return bpe_openai.get_encoding("o200k_base")


def count_text(text: str) -> int:
    """Tokens of a text of any length."""
    encoding = _encoding()
    return sum(len(encoding.encode_ordinary(text[i : i + PIECE])) for i in range(0, len(text), PIECE))


class MessageCounter:
    """Tokens of chat messages; a message seen before (same content) is not counted again."""

    def __init__(self, kept: int = CACHED, held: int = HELD) -> None:
        self._kept = kept
        self._held = held
        self._lock = threading.Lock()
        self._known: dict[str, int] = {}
        self._characters = 0

    def count(self, messages: Iterable[Any]) -> int:
        return PER_ANSWER + sum(map(self.message, messages))

    def options(self, options: Any) -> int:
        """Tokens of tool definitions and a response format, which are part of every prompt."""
        shown = {k: options[k] for k in ("tools", "functions", "response_format") if options.get(k)}
        return self.text(canonical.text(shown)) if shown else 0

    def message(self, message: Any) -> int:
        """Tokens of one message with its frame."""
        content, calls = message.content, getattr(message, "tool_calls", None)
        total = PER_MESSAGE
        if isinstance(content, str):
            total += self.text(content)
        else:
            total += sum(self._part(part) for part in content if not (calls and _kind(part) in CALLS))
        return total + self.text(canonical.text(calls)) if calls else total

    def text(self, text: str) -> int:
        """Tokens of a text; the same text, however it came, is encoded once."""
        known = self._known.get(text)  # a string remembers its own hash: one seen before costs next to nothing
        if known is None:
            known = count_text(text)
            with self._lock:
                if len(self._known) >= self._kept or self._characters > self._held:
                    self._known, self._characters = {}, 0
                self._known[text] = known
                self._characters += len(text)
        return known

    def _part(self, part: Any) -> int:
        if isinstance(part, str):
            return self.text(part)
        kind = _kind(part)
        if kind in ("text", "input_text", "output_text"):
            return self.text(str(part.get("text", "")))
        if kind not in DATA:
            return self.text(canonical.text(part))
        if kind in PICTURES:
            return SMALL_PICTURE if _detail(part) == "low" else PICTURE
        return max(PICTURE, _characters(part) // PER_TOKEN)


def _kind(part: Any) -> str:
    return str(part.get("type", "")) if isinstance(part, Mapping) else ""


def _detail(part: Mapping[str, Any]) -> Any:
    held = part.get("image_url")
    return held.get("detail") if isinstance(held, Mapping) else part.get("detail")


def _characters(value: Any) -> int:
    """Characters of all texts in a value."""
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    if isinstance(value, list):
        return sum(map(_characters, value))
    return len(value) if isinstance(value, (str, bytes)) else 0


COUNTER = MessageCounter()
"""That of this process."""
