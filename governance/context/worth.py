"""How likely a value is to be needed again, by its form alone."""

from __future__ import annotations

import re

QUOTED = 80
"""Characters of the longest value."""
PLAIN = 0.2
"""What an ordinary word is worth."""
DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
TIME = re.compile(r"\d{1,2}:\d\d(:\d\d)?")
STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ].*")
NUMBER = re.compile(r"[$€£+-]?\d+([.,]\d+)*%?")


def worth_of(value: str) -> float:
    """An identifier or a date is worth 1, a number or a word less."""
    if len(value) < 2 or len(value) > QUOTED:
        return 0.0
    if DATE.fullmatch(value):
        return 1.0
    if NUMBER.fullmatch(value):
        return 1.0 if len(value) >= 5 and value.isdigit() else 0.04 * len(value)
    if TIME.fullmatch(value) or STAMP.fullmatch(value):
        return 0.15
    if any(map(str.isdigit, value)) or "@" in value:
        return 1.0
    return 0.3 if "_" in value or (value.isupper() and len(value) <= 6) else PLAIN
