"""What operators set about spending: tokens and money, of a session, a tenant or everybody, ever or for a time.

[budget]
session_tokens = 200000

[[limit]]
of = "tenant"
per = "month"
money = 50

[[price]]
of = "gpt-5*"
input = 1.25
cached = 0.125
output = 10

Days and months are those of UTC. A limit in money refuses models whose price nobody has set.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from governance.errors import PolicyError

WHOSE = ("session", "tenant", "all")
PERIODS = ("day", "month")


@dataclass(frozen=True, kw_only=True)
class BudgetPolicy:
    """Tokens a session may spend in all, and what an answer is taken to need where a model sets no limit."""

    session_tokens: int | None = None
    answer_tokens: int = 1024


@dataclass(frozen=True, kw_only=True)
class LimitPolicy:
    """What one session, one tenant or all together may spend on models."""

    of: str = "all"
    """Whose: session, tenant or all."""
    per: str | None = None
    """In which time: day or month; without it, for good."""
    tokens: int | None = None
    money: float | None = None
    """In whatever the prices are in."""

    def __post_init__(self) -> None:
        if self.of not in WHOSE:
            raise PolicyError(f"of must be one of {', '.join(WHOSE)}, not {self.of!r}")
        if self.per is not None and self.per not in PERIODS:
            raise PolicyError(f"per must be day or month (or left out: for good), not {self.per!r}")
        if (self.tokens is None) == (self.money is None):
            raise PolicyError("a limit needs either tokens or money; write two limits for both")


@dataclass(frozen=True, kw_only=True)
class PricePolicy:
    """What a million tokens of a model cost."""

    of: str
    """The model, or a pattern that its name fits (`gpt-5*`); the name itself goes before."""
    input: float
    output: float
    cached: float | None = None
    """For the part of a prompt that the provider had in its cache; else as `input`."""


def price_of(model: str, prices: Iterable[PricePolicy]) -> PricePolicy | None:
    """The price of a model: the one that names it, else the first pattern that it fits; None where there is none."""
    known = list(prices)
    found = next((one for one in known if one.of == model), None)
    return found or next((one for one in known if fnmatch.fnmatchcase(model, one.of)), None)
