"""The part of the state a node may see, in a form whose mutation does not reach the state.

Mappings lose the keys the contract does not name; pydantic models and dataclasses become a view of
the same type that refuses to be asked for them. Containers are copied one level deep: a deep copy
costs more than the node at a few thousand messages, so deep mutation is found in strict mode, by digest.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from governance import canonical
from governance.call import NodeCall
from governance.errors import ContractViolation

_VIEWS: dict[type, type] = {}


def view(state: Any, call: NodeCall) -> Any:
    """What the node is given instead of `state`."""
    if call.governance.mode == "strict":
        call.seal = canonical.digest(state)
    reads = call.contract.reads if call.projects else None
    if "mutation" in call.contract.waives and reads is None:
        return state
    if isinstance(state, dict):
        return {k: _shallow(v) for k, v in state.items() if reads is None or k in reads}
    if isinstance(state, BaseModel) or (dataclasses.is_dataclass(state) and not isinstance(state, type)):
        return _object_view(state, reads, call)
    return _shallow(state)


def changed(call: NodeCall) -> str | None:
    """Strict mode: whether the node changed what it was given, at any depth."""
    if canonical.digest(call.raw) != call.seal:
        return "changed its input state in place; return an update instead"
    return None


def _shallow(value: Any) -> Any:
    kind = type(value)
    if kind is list or kind is dict or kind is set:
        return value.copy()
    return value


def _object_view(state: Any, reads: frozenset[str] | None, call: NodeCall) -> Any:
    clone = copy.copy(state)
    values = vars(clone)
    for key in values:
        values[key] = _shallow(values[key])
    if reads is not None:
        hidden = {name for name in values if name not in reads}
        values["__sidecar_hidden__"] = (frozenset(hidden), call)
        object.__setattr__(clone, "__class__", _view_class(type(state)))
    return clone


def _view_class(kind: type) -> type:
    """A subclass that refuses hidden fields; pydantic and `isinstance` take it for the original."""
    known = _VIEWS.get(kind)
    if known is None:
        body = {"__getattribute__": _guarded, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
        known = _VIEWS[kind] = type(kind)(kind.__name__, (kind,), body)
    return known


def _guarded(self: Any, name: str) -> Any:
    values = object.__getattribute__(self, "__dict__")
    hidden, call = values.get("__sidecar_hidden__", (frozenset(), None))
    if name in hidden:
        raise call.refuse(
            ContractViolation(f"{call.place} read {name!r}, which its contract does not name", key=name)
        )
    return object.__getattribute__(self, name)


def readable(state: Any) -> Mapping[str, Any]:
    """The state as a mapping, whatever its shape."""
    if isinstance(state, Mapping):
        return state
    return vars(state) if hasattr(state, "__dict__") else {}
