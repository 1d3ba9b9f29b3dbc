"""Moments in the forms in which code writes them: ISO texts, dates, and numbers since 1970."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

TIMES = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)?(?![\d-])"
NUMBERS = r"(?<![\w.-])\d{10}(?:\d{3}|\d{6}|\d{9})?(?:\.\d+)?(?![\w-])"
UNITS = (1, 1e3, 1e6, 1e9)
"""Seconds, and what they are divided by."""
ROUNDED = 1.0
"""Whoever writes whole seconds cuts off a part of one."""


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when something happened, in seconds since 1970."""

    begin: float
    end: Callable[[], float]

    def holds(self, span: tuple[float, float]) -> bool:
        """Whether a moment, known as closely as it was written, may lie in it."""
        return span[0] <= self.end() and span[1] >= self.begin


def is_moment(kind: str) -> bool:
    return kind in ("datetime.datetime", "datetime.date")


def moments(value: Any) -> Iterator[tuple[float, float]]:
    """What a value says when it is a moment, once for each way to read it; nothing where it is none."""
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield from _numbers(float(value))
    elif isinstance(value, list):
        with suppress(ValueError, TypeError):
            yield from _day(date(*value))
    elif isinstance(value, str) and re.fullmatch(NUMBERS, value):
        yield from _numbers(float(value))
    elif isinstance(value, str) and re.fullmatch(TIMES, value):
        with suppress(ValueError, OverflowError):
            yield from _day(date.fromisoformat(value)) if len(value) == 10 else _text(value)


def _numbers(value: float) -> Iterator[tuple[float, float]]:
    if value == value and abs(value) < 1e21:
        yield from ((value / unit, value / unit + ROUNDED) for unit in UNITS)


def _text(value: str) -> Iterator[tuple[float, float]]:
    plain = re.sub(r" ?(Z|UTC)$", "+00:00", value.replace(",", "."))
    plain = re.sub(r"\.(\d{6})\d+", r".\1", plain)
    written = datetime.fromisoformat(plain)
    precision = ROUNDED if plain.count(":") - (written.tzinfo is not None) > 1 else 60.0
    # Without a zone it is one of two: the universal one, or that of the machine.
    read = [written] if written.tzinfo is not None else [written.replace(tzinfo=UTC), written.astimezone()]
    yield from ((one.timestamp(), one.timestamp() + precision) for one in read)


def _day(day: date) -> Iterator[tuple[float, float]]:
    """The whole day, wherever on earth."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    yield (noon - timedelta(hours=26)).timestamp(), (noon + timedelta(hours=26)).timestamp()
