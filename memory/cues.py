"""What the wording of a memory and of a question gives away, without a model: English, and silent in other languages.

A question that begins with "when" is answered by a text that speaks of time, "how many" by one with a number in it;
a month asked for is looked for in the days a text was said on, and in those it points to ("last month").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product

from memory.stems import stems

QUESTION, TIME, NUMBER = 1, 2, 4
_MOST_TERMS = 256

_MONTHS = "january february march april may june july august september october november december".split()
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_TIME = re.compile(
    r"\b(yesterday|today|tonight|tomorrow|last|next|ago"
    r"|this (week|month|year|morning|weekend|summer|fall|winter|spring)"
    rf"|weeks?|months?|years?|days?|weekend|{_DAYS}|{'|'.join(_MONTHS)}|recently|just|since|\d{{4}})\b",
    re.I,
)
_NUMBER = re.compile(r"\b(\d+|one|two|three|four|five|six|seven|eight|nine|ten|once|twice|couple|few|several)\b", re.I)
_WHEN = re.compile(r"\s*(when|how long|(what|which) (year|month|day|date|time))\b", re.I)
_COUNT = re.compile(r"\s*how (many|much|often|old)\b", re.I)
# Not in lower case: "may" and "march" are words of their own.
_MONTH = re.compile(rf"\b({'|'.join(m.title() for m in _MONTHS)}|{'|'.join(m[:3].title() for m in _MONTHS)})\b")
_YEAR = re.compile(r"\b((?:19|20)\d\d)\b")
_DAY = re.compile(r"\b([12]?\d|3[01])(?:st|nd|rd|th)?\b")
_WEEK_BACK = re.compile(rf"\b(yesterday|last week|days ago|weekend|week|last ({_DAYS}))\b", re.I)
_MONTH_BACK = re.compile(r"\b(last month|weeks ago|month ago)\b", re.I)
_AHEAD = re.compile(r"\b(next month|next week|soon)\b", re.I)
_STOP = frozenset(
    stems(
        "a an the and or of to in on at for with by from as is are was were be been being do does did doing has have"
        " had having will would could should can may might what which who whom whose when where why how that this these"
        " those it its he she they them his her their i you we me my your our us if so than then there here about into"
        " after before during over under again both each all any some no not only own same too very just also s t ve re"
        " ll d m"
    )
)


def marks_of(text: str) -> int:
    """What a memory is like, as bits: it asks, it speaks of time, it holds a number."""
    said = text.rstrip()
    said = said[: said.rfind("[")].rstrip() if said.endswith("]") else said  # a note behind it, as of a photo
    return QUESTION * said.endswith("?") | TIME * bool(_TIME.search(text)) | NUMBER * bool(_NUMBER.search(text))


def days_of(text: str, said: date | None) -> tuple[int, int, int] | None:
    """The day a memory was said, the earliest and the latest it seems to speak of, as ordinals."""
    if said is None:
        return None
    early = said
    if _MONTH_BACK.search(text):
        early = said.replace(day=1) - timedelta(days=1)
    elif _WEEK_BACK.search(text):
        early = said - timedelta(days=8)
    late = said.replace(day=28) + timedelta(days=5) if _AHEAD.search(text) else said
    return said.toordinal(), early.toordinal(), late.toordinal()


@dataclass(frozen=True, slots=True)
class Question:
    """A query, read once: its words, whom it names, what kind of answer it wants, and of when."""

    text: str
    terms: tuple[str, ...]
    named: frozenset[str]
    when: bool
    count: bool
    months: frozenset[tuple[int | None, int]]
    days: tuple[int, ...]

    @staticmethod
    def read(text: str, speakers: Iterable[str] = ()) -> Question:
        """What `text` asks, in a scope where these people speak."""
        words = list(dict.fromkeys(stems(text)))
        named = {name: set(stems(name)) for name in speakers}
        named = {name: parts for name, parts in named.items() if parts and parts <= set(words)}
        every = set[str]().union(*named.values()) if named else set[str]()
        content = [word for word in words if word not in _STOP and word not in every]
        months = {_month(name) for name in _MONTH.findall(text)}
        years: list[int | None] = [int(year) for year in _YEAR.findall(text)] or [None]
        return Question(
            text=text,
            terms=tuple((content or words)[:_MOST_TERMS]),
            named=frozenset(named),
            when=bool(_WHEN.match(text)),
            count=bool(_COUNT.match(text)),
            months=frozenset(product(years, months)),
            days=tuple(int(day) for day in _DAY.findall(text)) if months else (),
        )

    def dates(self, years: Iterable[int]) -> list[int]:
        """The days it asks about, as ordinals; a day without a year is one of each of `years`."""
        found = set[int]()
        for (year, month), day in product(self.months, self.days):
            for one in [year] if year else years:
                try:
                    found.add(date(one, month, day).toordinal())
                except ValueError:  # no month has this day
                    continue
        return sorted(found)


def _month(name: str) -> int:
    return next(n for n, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()))
