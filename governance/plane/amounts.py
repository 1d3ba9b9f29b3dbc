"""Sizes and spans of time as operators write them: `200MB`, `90d`."""

from __future__ import annotations

import re

SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


def size(text: str) -> int:
    """Bytes; raises `ValueError` that says what is expected."""
    return int(_amount(text, SIZES, "a size such as 200MB"))


def span(text: str) -> float:
    """Seconds; raises `ValueError` that says what is expected."""
    return _amount(text, SPANS, "a time such as 90d, 12h or 30m")


def _amount(text: str, units: dict[str, int], wanted: str) -> float:
    found = _WRITTEN.fullmatch(text.strip().lower())
    if found is None or found[2] not in units:
        raise ValueError(f"expected {wanted}, got {text!r}")
    return float(found[1]) * units[found[2]]
