"""The fixed order of filters at each boundary, outermost first; what has nothing to ask of a call is left out.

Users' own filters stand in the middle: inside everything that refuses or counts, outside the call itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from governance.call import Boundary, Filter
from governance.contracts import Contract
from governance.filters.admission import Admission
from governance.filters.answers import ReusedAnswers, ReusedReads
from governance.filters.approval import ToolApproval
from governance.filters.attempted import attempted
from governance.filters.attempts import Attempts
from governance.filters.authority import InnerAuthority, node_authority
from governance.filters.breaker import CircuitBreaker
from governance.filters.budget import Budget
from governance.filters.bulkhead import BulkheadFilter
from governance.filters.cards import parked
from governance.filters.context import ContextFilter
from governance.filters.contract import contract_filter
from governance.filters.deadline import Deadline
from governance.filters.effect import EffectFilter
from governance.filters.fallback import Fallback
from governance.filters.first_tries import first_tries
from governance.filters.gate import gates
from governance.filters.halts import EffectBursts
from governance.filters.loops import Loops

if TYPE_CHECKING:
    from governance.sidecar import Governance

INNER_AUTHORITY = InnerAuthority()
DEADLINE = Deadline()


def filters_of(governance: Governance, boundary: Boundary, contract: Contract) -> list[Filter]:
    """What stands around a node, a model or a tool under a contract."""
    records = governance.records
    if not (governance.enforcing and contract.enforced):
        return [records.node if boundary == "node" else records.inner]
    own = [one for one in governance.filters if getattr(one, "at", "node") == boundary]
    if boundary == "node":
        return [*_around_node(governance, contract), *own]
    fallback: list[Filter] = [Fallback()] if contract.fallbacks or governance.directory.stands_in else []
    outer: list[Filter] = [records.inner, *_counting(governance), INNER_AUTHORITY]
    inner: list[Filter] = [*_of_failures(governance), *own, DEADLINE]
    if boundary == "model":
        context = contract.context or governance.policy.context
        shown: list[Filter] = [ContextFilter(context)] if context is not None else []
        return [*outer, *shown, ReusedAnswers(), *fallback, Budget(), *inner]
    halts = governance.halts
    bursts: list[Filter] = [EffectBursts(halts)] if halts is not None and halts.counts_effects else []
    return [*outer, Loops(), ToolApproval(), ReusedReads(), *fallback, EffectFilter(), *bursts, *inner]


def _around_node(governance: Governance, contract: Contract) -> list[Filter]:
    policy, asks = governance.policy, contract.approval is not None or bool(contract.gates)
    limited = policy.loops.visits is not None or policy.budget.session_tokens is not None
    return [
        *([attempted] if contract.outlives else []),
        governance.records.node,
        *_counting(governance),
        *([parked] if asks else []),
        node_authority,
        *([first_tries] if policy.retries is not None else []),
        *([Admission()] if limited else []),
        *([gates] if asks else []),
        contract_filter,
    ]


def _counting(governance: Governance) -> list[Filter]:
    return [] if governance.halts is None else [governance.halts]


def _of_failures(governance: Governance) -> list[Filter]:
    """The breaker inside the attempts, so that it sees every try."""
    return [Attempts(), CircuitBreaker(), BulkheadFilter()] if governance.directory.governs else []
