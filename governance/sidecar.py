"""`govern()`: contracts, policy and a graph in; the same graph, governed, out."""

from __future__ import annotations

import atexit
import copy
import fnmatch
import inspect
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from langgraph.constants import START

from governance import seams
from governance.bound import Bound, Declared
from governance.call import Boundary, Call, Filter, NodeCall, ToolCall
from governance.context.histories import Histories
from governance.contracts import READ, Contract, SideEffect, effect_of, effects_expected
from governance.covered import Coverage
from governance.directory import Directory
from governance.errors import ContractError, LedgerError
from governance.filters.authority import check_tool
from governance.filters.halts import Halts
from governance.filters.order import filters_of
from governance.filters.record_payloads import records_of
from governance.isolation import EffectLeft
from governance.plane.approvals import Approvals
from governance.plane.budgets import Budgets
from governance.plane.control import Control
from governance.plane.dependencies import Dependencies, Dependency
from governance.plane.effects import Effects
from governance.plane.halt_rules import HaltCounts
from governance.plane.last_answers import LastAnswers
from governance.plane.ledger import Ledger
from governance.plane.ledger_settings import is_default, key_from_environment, ledger_by
from governance.plane.sagas import Sagas
from governance.plane.sessions import Session, Sessions
from governance.policy import LedgerPolicy, Policy, load_policy
from governance.reload import InForce, PolicyFiles, stamp_of
from governance.undos import Undos

Mode = Literal["observe", "enforce", "strict"]
Graph = TypeVar("Graph")
ENTRY = Contract()
"""A graph's entry takes the input and picks the first node; without a contract of its own it may do no more."""
OBSERVED = Contract.observe(reason="no contracts were given")


class Sidecar:
    """Owns what outlives a call: the ledger's writer, the control file, the sessions.

    Everything starts when it is first needed and again after a `fork`; `close` may be called any
    number of times. Give one to several `govern` calls to put them on one record, and to share what is
    known about dependencies; processes on one control file share that too. `clock` is the time of breakers, leases and
    `[[halt]]` rules, the same for all of them, for simulations that have one of their own.
    """

    def __init__(
        self,
        *,
        ledger: str | os.PathLike[str] | Ledger | None = None,
        control: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        record = ledger or os.environ.get("SIDECAR_LEDGER") or ".sidecar/ledger.db"
        switch = control or os.environ.get("SIDECAR_CONTROL")
        self.ledger = record if isinstance(record, Ledger) else Ledger(record, key=key_from_environment())
        self.control = Control(switch or self.ledger.path.with_name("control.db"))
        self.approvals = Approvals(self.control)
        self.effects = Effects(self.control)
        self.sagas = Sagas(self.control, self.effects)
        self.budgets = Budgets(self.control, self.ledger)
        self.sessions = Sessions()
        self.last_answers = LastAnswers(clock)
        self.halts = HaltCounts(self.control, clock)
        self.policies = PolicyFiles(self.control, self.ledger)
        self.dependencies = Dependencies(clock, self.control)
        self.histories = Histories()
        self._warned = False
        atexit.register(self.close)

    def close(self) -> None:
        """Write what is queued and end the background threads; a later call starts them again."""
        self.ledger.close()
        self.dependencies.close()
        self.control.close()
        atexit.unregister(self.close)

    def warn_once(self, error: LedgerError) -> None:
        """Observe mode never stops a run, but it says once that nothing is on record any more."""
        if not self._warned:
            self._warned = True
            warnings.warn(f"Sidecar observes without a record: {error.reason}", RuntimeWarning, stacklevel=2)


class Governance:
    """What binds one governed graph: its mode, contracts and policy, and the Sidecar behind it."""

    def __init__(
        self,
        *,
        mode: Mode,
        contracts: Mapping[str, Contract],
        policy: Policy,
        sidecar: Sidecar,
        filters: Sequence[Filter],
        doors: Literal["closed", "open"],
    ) -> None:
        self.mode = mode
        self.enforcing = mode != "observe"
        self.strict = mode == "strict"
        self.contracts = dict(contracts)
        self.sidecar = sidecar
        self.doors = doors
        self.graph = ""
        """The name of the governed graph: a part of the places of its effects and approvals."""
        self.filters = tuple(filters)
        self.ledger = sidecar.ledger
        self.approvals = sidecar.approvals
        self.effects = sidecar.effects
        self.undos = Undos(contracts)
        self.sagas = sidecar.sagas
        self.budgets = sidecar.budgets
        self.control = sidecar.control
        self._resolved: dict[str, Contract | None] = {}
        self.in_force = InForce(self)
        """Which Governance counts for the next call: another one where the policy has changed."""
        self._go_by(policy)

    def _go_by(self, policy: Policy) -> None:
        """Everything that follows from a policy: a changed one makes all of it anew."""
        self.policy = policy
        self.ledger.redact_also(policy.ledger.redact)
        self.records = records_of(policy.ledger)
        self.directory = Directory(policy, self.sidecar.dependencies)
        self.halts = Halts(policy.halt) if policy.halt else None
        self._chains: dict[tuple[Boundary, int], tuple[Filter, ...]] = {}

    def under(self, policy: Policy) -> Governance:
        """The same graph under another policy, for calls that begin from now on."""
        other = copy.copy(self)
        other._go_by(policy)
        return other

    @property
    def may_act(self) -> bool:
        """Whether an effect can begin: a contract allows a tool, and something says that it changes anything."""
        return self._has_tools and (self._names_effects or effects_expected())

    @cached_property
    def outlives_failures(self) -> bool:
        """Whether any contract says what follows the failure of a node."""
        return any(one.outlives for one in self.contracts.values())

    @cached_property
    def _has_tools(self) -> bool:
        return any(one.tools or "tools" in one.waives for one in self.contracts.values())

    @cached_property
    def _names_effects(self) -> bool:
        rules = [rule for one in self.contracts.values() for rule in one.tools.values()]
        named = [effect for one in self.contracts.values() for effect in one.effects.values()]
        return any(rule.approval for rule in rules) or any(effect.changes for effect in named)

    def begin(self) -> None:
        """What a run needs before its first call: fresh stops, and a ledger that can be written."""
        if self.enforcing:
            self.sidecar.control.watch()
            if self.ledger.broken is not None:  # one that is only behind is waited for at the first call
                self.ledger.check()
        elif self.ledger.broken is not None:
            self.sidecar.warn_once(self.ledger.broken)

    def session(self, session_id: str) -> Session:
        return self.sidecar.sessions.get(session_id)

    def contract(self, place: str) -> Contract | None:
        """The contract of a place (`research/search`): the exact name first, else the first pattern."""
        if not self.enforcing:
            return OBSERVED
        try:
            return self._resolved[place]
        except KeyError:
            found = self.contracts.get(place)
            if found is None:
                found = next((c for p, c in self.contracts.items() if fnmatch.fnmatchcase(place, p)), None)
            if found is None and place.rpartition("/")[2] == START:
                found = ENTRY
            self._resolved[place] = found
            return found

    def counterpart(self, own: Governance) -> Governance:
        """What governs a graph inside that was governed by itself: that, but in a replay its rules alone."""
        return own

    def ran_again(self, call: NodeCall) -> bool | None:
        """In a replay, whether a node that failed was run again in the record; else nobody knows yet."""
        return None

    def chain(self, boundary: Boundary, contract: Contract) -> tuple[Filter, ...]:
        """The filters of a boundary for a contract, outermost first; the ends are fixed."""
        key = (boundary, id(contract))
        found = self._chains.get(key)
        if found is None:
            built = self._build(boundary, contract)
            found = self._chains[key] = tuple(map(_bound_once, built))
        return found

    def _build(self, boundary: Boundary, contract: Contract) -> list[Filter]:
        return filters_of(self, boundary, contract)

    def bind(self, place: str, declared: Declared) -> Bound | None:
        """The contract of a place met with what its graph declares; None where there is no contract."""
        contract = self.contract(place)
        if contract is None:
            return None
        return Bound(place, self, contract, declared, self.chain("node", contract))

    def effect(self, call: ToolCall) -> SideEffect | None:
        """What the tool declares, or what the contract says about it; None when nobody says anything."""
        declared = call.contract.effects.get(call.name) or effect_of(call.tool)
        rule = call.contract.tool(call.name)
        if declared is None and rule is not None and rule.approval is not None:
            return SideEffect("external")  # what a person must approve is taken to change something
        return declared

    def effects_left(self, call: NodeCall) -> tuple[EffectLeft, ...]:
        """What a node has done that cannot be undone by its failure (blocking)."""
        if not self.may_act:
            return ()
        place = f"{call.session.id}/{self.place(call)}"
        return tuple(
            EffectLeft(tool, call.path + key[len(place) :], "finished" if state == "finished" else "in doubt")
            for tool, key, state in self.effects.left_beneath(place)
        )

    def pays_for(self, call: Call, dependency: Dependency) -> str | None:
        """Take a fallback out of the retry budget of what failed, or say why there is none."""
        budget = dependency.budget
        return None if budget is None or budget.take() else f"the retry budget of {dependency.name} is used up"

    def recheck(self, call: ToolCall) -> None:
        """Apply the contract again, to arguments a person has edited."""
        check_tool(call)

    def resume_answer(self, call: Call, card: str) -> Any:
        return seams.resume_answer(call.node, card)

    def place(self, call: Call) -> str:
        """Where a call is made, and in which graph: the same only where it is made again."""
        return seams.place(call)

    def resumable(self, call: Call) -> bool:
        """Whether what runs here is stored as it goes, so that it can be run on after a crash or a question."""
        return seams.resumable(call)

    def wait_saved(self, call: Call) -> None:
        """Wait until what this call began from is stored (blocking)."""
        seams.wait_saved(call)

    def state(self, call: NodeCall, key: str) -> Mapping[str, Any]:
        """The state of a node's graph at a key, also where the node was given a `Send`'s payload instead."""
        return seams.state(call, key)

    def server_user(self, call: Call) -> str | None:
        return seams.server_user(call.node)


def _bound_once(one: Filter) -> Filter:
    """The method behind a filter object: looking `__call__` up on its type at every call costs time."""
    return one if inspect.isroutine(one) else one.__call__


_default: Sidecar | None = None
_default_lock = threading.Lock()


def default_sidecar() -> Sidecar:
    """The process-wide Sidecar, on `SIDECAR_LEDGER` or `.sidecar/ledger.db`."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Sidecar()
        return _default


def govern(
    graph: Graph,
    *,
    contracts: Mapping[str, Contract] | None = None,
    policy: Policy | str | os.PathLike[str] | None = None,
    mode: Mode | None = None,
    sidecar: Sidecar | None = None,
    filters: Sequence[Filter] = (),
    doors: Literal["closed", "open"] = "closed",
) -> Graph:
    """Put a governed boundary around every node of a compiled graph and return that same graph.

    Without `contracts` it is observed: recorded, never altered. With them it is enforced; keys are node
    names, `parent/child` inside subgraphs, and may be patterns (`research/*`, `*`). `mode="strict"` adds
    costly checks for tests. `filters` stand in the middle of the chain. `doors="open"` allows state
    changes past the nodes (`update_state`, `Command` input, rewinds) to everybody, not only to an
    operator. Raises `ContractError` where a contract is missing or fits nothing, `PolicyError`,
    `UnsupportedVersion`; the graph is then unchanged.
    """
    file = None if policy is None or isinstance(policy, Policy) else Path(policy).absolute()
    stamp = None if file is None else stamp_of(file)
    rules = load_policy(policy)
    chosen: Mode = mode or ("observe" if contracts is None else "enforce")
    if chosen not in ("observe", "enforce", "strict"):
        raise ContractError(f"mode must be 'observe', 'enforce' or 'strict', not {chosen!r}")
    if chosen != "observe" and contracts is None:
        raise ContractError(f"mode {chosen!r} needs contracts; give contracts={{...}} or leave mode out")
    if sidecar is None:
        sidecar = default_sidecar() if policy is None else _sidecar_of(rules)
    governance = Governance(
        mode=chosen, contracts=contracts or {}, policy=rules, sidecar=sidecar, filters=filters, doors=doors
    )
    seams.install()
    governance.graph = str(getattr(graph, "name", ""))
    seams.attach(graph, governance)
    if file is not None and governance.enforcing:
        sidecar.policies.follow(file, governance, stamp)
    return graph


_by_policy: dict[LedgerPolicy, Sidecar] = {}


def _sidecar_of(policy: Policy) -> Sidecar:
    named = os.environ.get("SIDECAR_LEDGER")
    if named is not None and is_default(policy.ledger):
        return default_sidecar()
    rules = policy.ledger.placed(named, os.environ.get("SIDECAR_CONTROL") if named is not None else None)
    with _default_lock:
        if rules not in _by_policy:
            _by_policy[rules] = Sidecar(ledger=ledger_by(rules), control=rules.control)
        return _by_policy[rules]


def coverage(graph: Any) -> Coverage:
    """What is governed in a graph, by which seam, what is waived, and what only run time can tell."""
    return seams.coverage(graph)


__all__ = ["READ", "Governance", "NodeCall", "Sidecar", "coverage", "govern"]
