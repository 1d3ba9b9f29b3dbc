"""What a node sees and what it may write: the contract's reads on the way in, its writes on the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.types import Command, Overwrite, Send

from governance import projection
from governance.call import After, Flow, NodeCall, Proceed
from governance.detached import CONTAINERS, detached
from governance.errors import ContractViolation
from governance.filters.repair import repair
from governance.typecheck import type_problem


def contract_filter(call: NodeCall) -> Flow | After:
    """Projects the state to the declared reads, and refuses writes, types, keys and routes outside."""
    call.input = projection.view(call.raw, call)
    if call.attempt > 1:
        call.input = with_feedback(call.input, call)
    return checked if call.contract.timeout is None else in_time(call)


def in_time(call: NodeCall) -> Flow:
    return checked(call, (yield Proceed(call, call.contract.timeout)))


def checked(call: NodeCall, update: Any) -> Any:
    """A copy of the update, of which the node has no hold, once it is known that all of it may be written."""
    problem = projection.changed(call) if call.seal else None
    if problem is None:
        if type(update) is dict:
            update = update.copy()
            if within(update, call.bound.plain):
                call.granted = update
                return update
        elif update is None:
            return None
        if call.declared.writes is not None:
            update = detached(update)
        problem = grant(update, call)
    if problem is None:
        return update
    violation = ContractViolation(f"{call.place} {problem}", place=call.place)
    raise repair(call, violation.reason) or violation


def within(update: dict[str, Any], plain: Mapping[str, frozenset[type]]) -> bool:
    """Whether a copied update is inside the contract at first sight; anything else is looked at closely."""
    try:
        for key, value in update.items():
            kind = type(value)
            if kind not in plain[key]:
                return False
            if kind in CONTAINERS:
                update[key] = value.copy()
    except KeyError:
        return False
    return True


def grant(update: Any, call: NodeCall) -> str | None:
    """Allow exactly what an update writes, or say why it breaks the contract."""
    declared = call.declared
    if update is None or declared.writes is None:
        return None
    problem = unknown_key(update, call)
    if problem is not None:
        return problem
    pairs, routes = declared.writes(update)
    for key, value in pairs if declared.keys is not None else ():
        problem = problem or write_problem(key, value, call)
    problem = problem or route_problem(routes, call)
    if problem is None:
        call.granted = dict(pairs) if len(dict(pairs)) == len(pairs) else pairs
    return problem


def unknown_key(update: Any, call: NodeCall) -> str | None:
    """LangGraph drops keys the state does not have without a word; here they are a mistake to mend."""
    declared = call.declared
    if declared.keys is not None and "unknown_keys" not in call.contract.waives:
        unknown = [key for key in keys_of(update) if key not in declared.keys]
        if unknown:
            known = ", ".join(sorted(declared.keys))
            return f"wrote the key {unknown[0]!r}, which the state does not have; it has: {known}"
    return None


def granted(key: str, value: Any, call: NodeCall) -> bool:
    """Whether this very value of this key was looked at when the node's update was."""
    allowed = call.granted
    if isinstance(allowed, dict):
        return key in allowed and allowed[key] is value
    return any(k == key and v is value for k, v in allowed or ())


def write_problem(key: str, value: Any, call: NodeCall) -> str | None:
    """Ownership, overwriting and type of one written key."""
    owned = call.bound.types
    if key not in owned:
        allowed = ", ".join(sorted(owned)) or "nothing"
        return f"wrote {key!r}, which it does not own; its contract allows: {allowed}"
    if is_overwrite(value):
        if "overwrite" not in call.contract.waives:
            return f"wrote Overwrite to {key!r}, which throws away what other nodes wrote"
        return None
    return None if owned[key] is None else type_problem(key, owned[key], value)


def route_problem(routes: list[str], call: NodeCall) -> str | None:
    """Control may go where the graph draws an edge or the contract says so."""
    if "routes" in call.contract.waives:
        return None
    for route in routes:
        if route not in call.bound.routes:
            allowed = ", ".join(sorted(call.bound.routes)) or "nothing"
            return f"sent control to {route!r}; the graph and its contract allow: {allowed}"
    return None


OVERWRITE = "__overwrite__"


def is_overwrite(value: Any) -> bool:
    """LangGraph takes the object, a dict with this one key, and what JSON makes of the object."""
    if isinstance(value, dict):
        kind = value.get("type")  # of any type: arrays compare to something that is no truth
        return OVERWRITE in value or (isinstance(kind, str) and kind == OVERWRITE)
    return isinstance(value, Overwrite)


def with_feedback(given: Any, call: NodeCall) -> Any:
    """What a gate or the contract said about the last attempt, where the node will find it."""
    words = call.session.said(call.path)
    key = call.contract.feedback
    if words is None or not isinstance(given, dict):
        return given
    if key is not None:
        return {**given, key: words}
    if isinstance(given.get("messages"), list):
        return {**given, "messages": [*given["messages"], HumanMessage(words)]}
    return given


def keys_of(update: Any) -> list[str]:
    """The keys an update names before LangGraph drops those it does not know."""
    if isinstance(update, Mapping):
        return [str(key) for key in update]
    if isinstance(update, Command):
        given = update.update
        if update.graph == Command.PARENT or given is None:
            return []
        if isinstance(given, (list, tuple)):
            return [str(pair[0]) for pair in given]
        return [str(key) for key in given] if isinstance(given, Mapping) else []
    if isinstance(update, (list, tuple)):
        return [key for part in update if not isinstance(part, Send) for key in keys_of(part)]
    return []
