"""What operators set about stops that nobody has to give: how much of what, within which time, is too much.

[[halt]]
when = "spend"
over = 50000
within = 60
of = "session"

[[halt]]
when = "errors"
over = 20
of = "tool"

There may be any number of them; without one nothing is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from governance.errors import PolicyError

COUNTED = {
    "spend": "tokens",
    "errors": "failed calls",
    "spread": "nodes in which something failed",
    "rejections": "refusals and revisions",
    "effects": "effects",
}
"""What a rule may count, each in words."""
OF = {
    "spend": ("session", "agent", "tenant", "all"),
    "spread": ("session", "tenant", "all"),
}
"""Of what it may be counted and stopped, where that is not all there is."""
ANY = ("session", "agent", "tool", "tenant", "all")


@dataclass(frozen=True, kw_only=True)
class HaltRule:
    """Stops what it names as an operator would, once more than `over` of something came within some seconds."""

    when: str
    """What is counted: `spend` (tokens), `errors`, `spread` (distinct nodes with errors), `rejections`, `effects`."""
    over: int
    """The most that is allowed; one more stops it."""
    within: float = 60.0
    """Seconds that are looked back."""
    of: str = "session"
    """Of what it is counted, and what is stopped: session, agent, tool, tenant or all."""

    def __post_init__(self) -> None:
        if self.when not in COUNTED:
            raise PolicyError(f"when must be one of {', '.join(COUNTED)}, not {self.when!r}")
        allowed = OF.get(self.when, ANY)
        if self.of not in allowed:
            raise PolicyError(f"of must be one of {', '.join(allowed)} where {self.when} counts, not {self.of!r}")

    def words(self, found: int) -> str:
        """Why it stopped something."""
        return f"{found} {COUNTED[self.when]} within {self.within:g} s, more than the {self.over} that [[halt]] allows"
