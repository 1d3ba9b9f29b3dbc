"""LangGraph's own retry loop makes every further attempt; these policies tell it which."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from langgraph.pregel._retry import _should_retry_on
from langgraph.types import RetryPolicy

from governance.errors import (
    GovernanceError,
    Revise,
)

if TYPE_CHECKING:
    pass


def shielded(policies: Any) -> tuple[RetryPolicy, ...]:
    """Retry policies that never retry what governance refused; its decisions are not weather."""
    given = (policies,) if isinstance(policies, RetryPolicy) else tuple(policies or ())
    return tuple(p._replace(retry_on=functools.partial(_retries, p)) for p in given)


def _retries(policy: RetryPolicy, error: Exception) -> bool:
    return not isinstance(error, GovernanceError) and _should_retry_on(policy, error)


def _revises(error: Exception) -> bool:
    return isinstance(error, Revise)


REVISIONS = RetryPolicy(initial_interval=0.0, backoff_factor=1.0, max_attempts=1_000, jitter=False, retry_on=_revises)
