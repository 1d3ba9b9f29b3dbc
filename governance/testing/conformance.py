"""Routes LangGraph's own test-suite through `govern`: see `CONTRIBUTING.md` for the commands.

Each process writes one ledger; `calls` counts the governed node calls that are in it.
"""

from __future__ import annotations

import sqlite3
import tempfile
from functools import cache
from pathlib import Path
from typing import TypeVar

from governance.contracts import Contract
from governance.policy import Policy
from governance.policy_budgets import LimitPolicy
from governance.policy_failures import BreakerPolicy, BulkheadPolicy, RetriesPolicy
from governance.policy_halts import COUNTED, HaltRule
from governance.policy_saga import SagaPolicy
from governance.sidecar import Sidecar, govern

Graph = TypeVar("Graph")
GENEROUS = Policy(
    retries=RetriesPolicy(attempts=1_000, ratio=1.0, burst=100_000),
    breaker=BreakerPolicy(),
    bulkhead=BulkheadPolicy(),
    saga=SagaPolicy(),
    halt=tuple(HaltRule(when=when, over=1_000_000) for when in COUNTED),
    limit=(LimitPolicy(of="all", tokens=1_000_000_000),),
)
"""Everything that governs failures is on, and allows whatever LangGraph itself would."""


@cache
def sidecar() -> Sidecar:
    """This process's record, in a directory of its own."""
    return Sidecar(ledger=Path(tempfile.mkdtemp(prefix="sidecar-conformance-")) / "ledger.db")


def observe(graph: Graph) -> Graph:
    """Every graph in observe mode, with all default filters."""
    return govern(graph, sidecar=sidecar())


def enforce(graph: Graph) -> Graph:
    """Every graph in enforce mode, with a permissive contract on every node and open doors."""
    return govern(graph, contracts={"*": Contract.permissive()}, policy=GENEROUS, sidecar=sidecar(), doors="open")


def calls() -> int:
    """Governed node calls, counted from ledger rows."""
    sidecar().ledger.flush()
    with sqlite3.connect(sidecar().ledger.path) as db:
        return int(db.execute("SELECT count(*) FROM events WHERE kind='node.begun'").fetchone()[0])
