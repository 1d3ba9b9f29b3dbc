"""What a node sees and what it may write: the contract's reads on the way in, its writes on the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.types import Command, Overwrite, Send

from governance import projection
from governance.call import Declared, Flow, NodeCall, Proceed
from governance.errors import ContractViolation
from governance.filters.gate import repair
from governance.typecheck import type_problem


class ContractFilter:
    """Projects the state to the declared reads, and refuses writes, types, keys and routes outside."""

    def __call__(self, call: NodeCall) -> Flow:
        contract = call.contract
        call.input = projection.view(call.raw, call)
        update = yield Proceed(call, within=contract.timeout)
        problem = projection.changed(call) if call.governance.mode == "strict" else None
        problem = problem or update_problem(update, call)
        if problem is None:
            return update
        violation = ContractViolation(f"{call.place} {problem}", place=call.place)
        raise repair(call, violation.reason) or violation


def update_problem(update: Any, call: NodeCall) -> str | None:
    """Why an update breaks the contract, or None."""
    declared, waives = call.declared, call.contract.waives
    if declared is None or declared.keys is None or update is None:
        return None
    if "unknown_keys" not in waives:
        unknown = [key for key in keys_of(update) if key not in declared.keys]
        if unknown:
            known = ", ".join(sorted(declared.keys))
            return f"wrote the key {unknown[0]!r}, which the state does not have; it has: {known}"
    if declared.writes is None:
        return None
    pairs, routes = declared.writes(update)
    for key, value in pairs:
        problem = write_problem(key, value, call, declared)
        if problem is not None:
            return problem
    return route_problem(routes, call, declared)


def write_problem(key: str, value: Any, call: NodeCall, declared: Declared) -> str | None:
    """Ownership, overwriting and type of one written key."""
    contract = call.contract
    owned = contract.writes
    if owned is not None and key not in owned:
        return f"wrote {key!r}, which it does not own; its contract allows: {', '.join(sorted(owned)) or 'nothing'}"
    if is_overwrite(value):
        if "overwrite" not in contract.waives:
            return f"wrote Overwrite to {key!r}, which throws away what other nodes wrote"
        return None
    if "types" in contract.waives:
        return None
    if isinstance(owned, Mapping):
        return type_problem(key, owned[key], value)
    if key in declared.types and key not in declared.reducers:
        return type_problem(key, declared.types[key], value)
    return None


def route_problem(routes: list[str], call: NodeCall, declared: Declared) -> str | None:
    """Control may go where the graph draws an edge or the contract says so."""
    contract = call.contract
    if "routes" in contract.waives:
        return None
    allowed = declared.routes if contract.routes is None else contract.routes | declared.routes
    for route in routes:
        if route not in allowed:
            return f"sent control to {route!r}; the graph and its contract allow: {', '.join(sorted(allowed)) or 'nothing'}"
    return None


def is_overwrite(value: Any) -> bool:
    return isinstance(value, Overwrite) or (isinstance(value, dict) and set(value) == {"__overwrite__"})


def keys_of(update: Any) -> list[str]:
    """The keys an update names before LangGraph drops those it does not know."""
    if isinstance(update, Mapping):
        return [str(key) for key in update]
    if isinstance(update, Command):
        if update.graph == Command.PARENT or not isinstance(update.update, Mapping):
            return []
        return [str(key) for key in update.update]
    if isinstance(update, (list, tuple)):
        return [key for part in update if not isinstance(part, Send) for key in keys_of(part)]
    return []
