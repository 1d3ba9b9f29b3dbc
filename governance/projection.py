"""The part of the state a node may see, in a form whose mutation does not reach the state.

Mappings lose the keys the contract does not name; pydantic models and dataclasses become a view of
the same type that refuses to be asked for them. Containers are copied one level deep. A long list is
copied once and lent: comparing it by identity before it is lent again costs a quarter of a copy, and a
copy that somebody changed, or still holds, is given to nobody else. Deep mutation is found in strict
mode, by digest: a digest of thousands of messages costs more than a node.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import threading
from collections import deque
from types import NoneType
from typing import Any

from pydantic import BaseModel

from governance import canonical
from governance.call import NodeCall
from governance.current import current_call
from governance.errors import ContractViolation

LONG = 128
HIDDEN = "__sidecar_hidden__"
LENT = 64
"""Long lists kept with the copy that nodes are given."""
PLAIN = frozenset({str, int, float, bool, bytes, NoneType})
MUTABLE = (list, dict, set, deque, bytearray)
_views: dict[type, type] = {}
_lent: dict[int, tuple[list[Any], list[Any]]] = {}
_lock = threading.Lock()


def view(state: Any, call: NodeCall) -> Any:
    """What the node is given instead of `state`."""
    contract = call.contract
    if call.governance.strict and "mutation" not in contract.waives:
        call.seal = canonical.digest(state)
    reads = contract.reads if call.projects else None
    if reads is None and "mutation" in contract.waives:
        return state
    if isinstance(state, dict):
        seen = {}
        for key in state if reads is None else reads:
            if key in state:
                value = state[key]
                seen[key] = value if type(value) in PLAIN else protected(value)
        return seen
    if isinstance(state, BaseModel) or (dataclasses.is_dataclass(state) and not isinstance(state, type)):
        return _object_view(state, reads, call)
    return protected(state)


def changed(call: NodeCall) -> str | None:
    """Strict mode: whether the node changed what it was given, at any depth."""
    if canonical.digest(call.raw) != call.seal:
        return "changed its input state in place; return an update instead"
    return None


def protected(value: Any) -> Any:
    """A container whose top level can be changed without changing the state; anything else as it is."""
    kind = type(value)
    if kind is list:
        return value.copy() if len(value) < LONG else _lend(value)
    if kind is dict or kind is set:
        return value.copy()
    return copy.copy(value) if isinstance(value, MUTABLE) else value


def _lend(value: list[Any]) -> list[Any]:
    """The copy of a long list that nodes are given; a new one where somebody has changed the last."""
    known = _lent.get(id(value))
    if known is not None and known[0] is value:
        lent = known[1]
        # This name, the pair and the call itself: no node has a handle on it, nor does another thread lend it now.
        if sys.getrefcount(lent) == 3 and lent == value:
            return lent
    lent = value.copy()
    with _lock:
        while len(_lent) >= LENT:
            _lent.pop(next(iter(_lent)), None)
    _lent[id(value)] = (value, lent)
    return lent


def _object_view(state: Any, reads: frozenset[str] | None, call: NodeCall) -> Any:
    clone = copy.copy(state)
    values = vars(clone)
    for key in values:
        values[key] = protected(values[key])
    if reads is not None:
        hidden = frozenset(name for name in values if name not in reads)
        for name in hidden:
            del values[name]  # what a view still held could be dumped, pickled or printed
        values[HIDDEN] = hidden
        object.__setattr__(clone, "__class__", _view_class(type(state)))
    return clone


def _view_class(kind: type) -> type:
    """A subclass that refuses hidden fields; pydantic and `isinstance` take it for the original."""
    known = _views.get(kind)
    if known is None:
        body = {
            "__getattribute__": _guarded,
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
        }
        known = _views[kind] = type(kind)(kind.__name__, (kind,), body)
    return known


def _guarded(self: Any, name: str) -> Any:
    if name in object.__getattribute__(self, "__dict__").get(HIDDEN, ()):
        call = current_call()
        place = call.node.place if call is not None else "code outside a node"
        violation = ContractViolation(f"{place} read {name!r}, which its contract does not name", key=name)
        raise call.node.refuse(violation) if call is not None else violation
    return object.__getattribute__(self, name)
