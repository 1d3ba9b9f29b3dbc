"""Whether an error that ends a run is a reason to take back what its session did."""

from __future__ import annotations

import concurrent.futures
from typing import Literal

from langgraph.errors import GraphBubbleUp

from governance.errors import (
    ApprovalDenied,
    ConfigurationError,
    DoorClosed,
    EffectInDoubt,
    Halted,
    LedgerError,
    SessionUndone,
    Unavailable,
    UndoHeld,
)

Cause = Literal["failed", "denied", "stopped"]
GOES_ON = (
    GraphBubbleUp,  # it waits for a person, or was asked to pause
    concurrent.futures.CancelledError,
    Unavailable,  # the dependency will be there again
    EffectInDoubt,  # a person settles that, and the session goes on
    LedgerError,  # what is not on record must not be undone either
    DoorClosed,  # somebody came the wrong way, and nothing ran
    ConfigurationError,
    SessionUndone,
    UndoHeld,
)
"""Errors after which a session can be run on: what it did still counts."""


def cause_of(error: Exception) -> Cause | None:
    """Why a session failed; None where it did not, and can be run on."""
    if isinstance(error, Halted):
        # Any other stop is lifted again, and a great many sessions meet it.
        return "stopped" if error.facts.get("scope") == "session" else None
    if isinstance(error, ApprovalDenied):
        return "denied"
    return None if isinstance(error, GOES_ON) else "failed"
