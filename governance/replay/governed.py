"""A second Governance beside the one of a graph: the same rules, files of its own, and models and tools replaced."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from governance.call import Boundary, Call, Filter, NodeCall, ToolCall
from governance.contracts import Contract, SideEffect
from governance.filters.admission import Admission
from governance.filters.answers import ReusedAnswers, ReusedReads
from governance.filters.attempts import Attempts
from governance.filters.breaker import CircuitBreaker
from governance.filters.budget import Budget
from governance.filters.bulkhead import BulkheadFilter
from governance.filters.deadline import Deadline
from governance.filters.effect import EffectFilter, business_key
from governance.filters.fallback import Fallback
from governance.filters.loops import Loops
from governance.filters.record_payloads import Records
from governance.isolation import EffectLeft
from governance.plane.dependencies import Dependency
from governance.plane.ledger import Ledger
from governance.policy import LedgerPolicy, Policy
from governance.replay.left import left_on_record
from governance.replay.substitute import Substitute
from governance.replay.watch import Watch
from governance.sidecar import Governance, Mode, Sidecar

JUDGES_FROM_OUTSIDE = (
    Admission, Attempts, Budget, BulkheadFilter, CircuitBreaker, Deadline, Fallback, Loops, ReusedAnswers, ReusedReads,
)  # fmt: skip
"""Filters that go by what other sessions, other processes or people did: what they decided is on record."""


def keyed(call: ToolCall) -> None:
    """What is left of the filter of effects: a business key has to fit the arguments, whatever happened before."""
    effect = call.governance.effect(call)
    if effect is not None and effect.changes:
        business_key(effect, call)


@dataclass(frozen=True, slots=True)
class Rules:
    """What of a Governance a replay goes by."""

    own: Governance | None
    mode: Mode = "observe"
    contracts: Mapping[str, Contract] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    filters: Sequence[Filter] = ()
    doors: Literal["closed", "open"] = "open"
    graph: str = ""


def rules_of(own: Governance | None) -> Rules:
    """The rules of a graph; one that nobody governs was observed by the command that ran it."""
    if own is None:
        return Rules(None)
    own = own.in_force.now
    return Rules(own, own.mode, own.contracts, own.policy, own.filters, own.doors, own.graph)


class Replaying(Governance):
    """The rules of a governed graph, for a replay of one of its sessions."""

    def __init__(self, rules: Rules, sidecar: Sidecar, watch: Watch, family: dict[int, Governance]) -> None:
        policy = replace(rules.policy, ledger=LedgerPolicy(redact=rules.policy.ledger.redact), saga=None)
        super().__init__(
            mode=rules.mode, contracts=rules.contracts, policy=policy, sidecar=sidecar, filters=rules.filters,
            doors=rules.doors,
        )  # fmt: skip
        self.graph = rules.graph
        self.watch = watch
        self.records = Records(watch.nodes, watch.calls, None, watch.rested)
        self.halts = None  # what they stopped is on record
        self._substitute = Substitute(watch.calls)
        self._family = family
        self._lock = threading.Lock()
        family[id(self.in_force)] = self
        if rules.own is not None:
            family[id(rules.own.in_force)] = self

    def counterpart(self, own: Governance) -> Governance:
        """For a graph inside that was governed by itself: its rules, and the files of this replay."""
        with self._lock:
            found = self._family.get(id(own.in_force))
            return found if found is not None else Replaying(rules_of(own), self.sidecar, self.watch, self._family)

    def ran_again(self, call: NodeCall) -> bool | None:
        """Budgets, and what others had tried, are on record by what came of them."""
        return self.watch.nodes.ran_again(call)

    def _build(self, boundary: Boundary, contract: Contract) -> list[Filter]:
        stands = (one for one in super()._build(boundary, contract) if not isinstance(one, JUDGES_FROM_OUTSIDE))
        built = [keyed if isinstance(one, EffectFilter) else one for one in stands]
        return built if boundary == "node" else [*built, self._substitute]

    def effects_left(self, call: NodeCall) -> tuple[EffectLeft, ...]:
        return left_on_record(self.watch.findings.recording.rows, call.path)

    def pays_for(self, call: Call, dependency: Dependency) -> str | None:
        """As it was: what else the retry budget was spent on is not in this session."""
        rows = self.watch.findings.recording.rows
        refused = (row for row in rows if row.kind == "fallback.refused" and row.path == call.path)
        return next((str(row.body.get("reason")) for row in refused), None)

    def effect(self, call: ToolCall) -> SideEffect | None:
        """As declared; a dry run tells what it told then."""
        found = super().effect(call)
        if found is None or found.dry_run is None:
            return found
        return replace(found, dry_run=lambda args: self.watch.calls.dry_run(call))


@contextlib.contextmanager
def replaying(rules: Rules, watch: Watch) -> Iterator[Replaying]:
    """The rules of a graph on a ledger and a control file that are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sidecar-replay-") as folder:
        # Both are named: the environment may name a control file that others use.
        sidecar = Sidecar(ledger=Ledger(Path(folder) / "ledger.db", min_free=1), control=Path(folder) / "control.db")
        try:
            yield Replaying(rules, sidecar, watch, {})
        finally:
            sidecar.close()
