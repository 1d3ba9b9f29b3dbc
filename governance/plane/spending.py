"""What an event counts against its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def spent(body: Mapping[str, Any]) -> int:
    """The tokens an event counts against its session: the whole number under `tokens` in its body."""
    tokens = body.get("tokens")
    return tokens if type(tokens) is int and 0 <= tokens < 2**53 else 0
