"""What operators set about sessions that fail after they did something.

[saga]
on = ["failed", "denied", "stopped"]

A policy without the table undoes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from governance.errors import PolicyError

CAUSES = ("failed", "denied", "stopped")


@dataclass(frozen=True, kw_only=True)
class SagaPolicy:
    """When what a session did is taken back by itself; with an empty `on`, only when somebody asks for it."""

    on: tuple[str, ...] = CAUSES

    def __post_init__(self) -> None:
        for cause in self.on:
            if cause not in CAUSES:
                raise PolicyError(f"on must name some of {', '.join(CAUSES)}, not {cause!r}")
