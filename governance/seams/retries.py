"""LangGraph's own retry loop makes every further attempt; these policies tell it which."""

from __future__ import annotations

import functools
from typing import Any

from langgraph.pregel._retry import _should_retry_on
from langgraph.types import RetryPolicy

from governance.errors import (
    GovernanceError,
    Revise,
)
from governance.reruns import may_run_again


def shielded(policies: Any) -> tuple[RetryPolicy, ...]:
    """Retry policies that never retry what governance refused, and ask it about everything else."""
    given = (policies,) if isinstance(policies, RetryPolicy) else tuple(policies or ())
    return tuple(p._replace(retry_on=functools.partial(_retries, p)) for p in given)


def _retries(policy: RetryPolicy, error: Exception) -> bool:
    if isinstance(error, GovernanceError) or not _should_retry_on(policy, error):
        return False
    return may_run_again(error, policy.max_attempts)


def _revises(error: Exception) -> bool:
    return isinstance(error, Revise)


REVISIONS = RetryPolicy(initial_interval=0.0, backoff_factor=1.0, max_attempts=1_000, jitter=False, retry_on=_revises)
