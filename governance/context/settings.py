"""How much of a history a model is shown: what a contract or a policy says, and the marks that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

from governance.errors import ContractError

LEAST = 200
"""Tokens of history below which there is no room for a summary and a turn."""
STEPS = 16
"""Where the allowance for the history depends on the rest of the prompt, it moves in steps: a date in the system
prompt must not move the place where the history is cut."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Tokens that parts of the history may take."""

    history: int
    summary: int
    recall: int
    high: int
    low: int

    @property
    def first(self) -> int:
        """What turns may take before any are left out: there is no summary yet, and nothing to recall."""
        return self.high + self.summary + self.recall


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the model calls of a node are shown: a prompt within `tokens`, of which the `history` is a part.

    `tokens` counts everything: system prompt, tool definitions, messages. `history` is what may follow the
    system prompt; without it, all that is left of `tokens`. The rest are parts of the history: turns are
    left out once they take more than `high`, down to `low`, and what they held is kept in a `summary` and
    brought back by `recall`.
    """

    tokens: int | None = None
    history: int | None = None
    high: float = 0.55
    low: float = 0.12
    summary: float = 0.25
    recall: float = 0.06

    def __post_init__(self) -> None:
        if self.tokens is None and self.history is None:
            raise ContractError(
                "Context needs `tokens` for the whole prompt, or `history` for what follows the system prompt"
            )
        for name in ("tokens", "history"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < LEAST):
                raise ContractError(f"Context.{name} must be a whole number of at least {LEAST}, not {value!r}")
        for name in ("high", "low", "summary", "recall"):
            if not 0 <= getattr(self, name) < 1:
                raise ContractError(
                    f"Context.{name} is a part of the history, from 0 to 1, not {getattr(self, name)!r}"
                )
        if self.low >= self.high:
            raise ContractError(f"Context.low must be less than high ({self.high}), not {self.low}")
        if self.high + self.summary + self.recall > 1:
            raise ContractError("Context.high, summary and recall are parts of the history: together at most 1")

    def marks(self, before: int) -> Marks | None:
        """The marks where the rest of the prompt takes so many tokens; None where no room is left for a history."""
        history = self.history
        if self.tokens is not None:
            step = max(1, self.tokens // STEPS)
            left = (self.tokens - before) // step * step
            history = left if history is None else min(history, left)
        assert history is not None, "one of the two is given"
        if history < min(LEAST, self.history or LEAST):
            return None
        parts = (self.summary, self.recall, self.high, self.low)
        return Marks(history, *(int(history * part) for part in parts))
