"""A node's contract met with what the graph declares: everything a call asks often, worked out once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType
from typing import TYPE_CHECKING, Any

from langgraph.types import Overwrite

if TYPE_CHECKING:
    from governance.call import Filter
    from governance.contracts import Contract
    from governance.sidecar import Governance

BRANCH = "branch:to:"
"""LangGraph's channel that wakes a node."""

HARMLESS: frozenset[type] = frozenset({str, int, float, bool, bytes, NoneType, list, tuple, set})
"""What no reducer takes for an order to throw away what it has gathered."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the graph itself says about a node: its keys with their types, and where its edges lead."""

    keys: frozenset[str] | None
    types: Mapping[str, Any]
    routes: frozenset[str]
    reducers: frozenset[str] = frozenset()
    open_ended: bool = False
    """Whether a conditional edge of the node may lead anywhere."""
    writes: Callable[[Any], tuple[list[tuple[str, Any]], list[str]]] | None = None
    """Splits an update into (key, value) pairs and the nodes it sends control to."""


UNDECLARED = Declared(keys=None, types={}, routes=frozenset())
"""A node of which the graph says nothing: a task, an entrypoint, a node built on Pregel itself."""


@dataclass(frozen=True)
class Bound:
    """One node under one contract; `place` is what contracts call it: `research/search`."""

    place: str
    governance: Governance
    contract: Contract
    declared: Declared
    filters: tuple[Filter, ...] = field(repr=False)

    @cached_property
    def enforced(self) -> bool:
        return self.governance.enforcing and self.contract.enforced

    @cached_property
    def marked(self) -> bool:
        """Whether what the node streams is marked as not yet verified."""
        return bool(self.contract.gates) and self.contract.stream == "mark"

    @cached_property
    def holds(self) -> bool:
        """Whether nothing of what happens inside the node leaves by a stream before its gates have passed."""
        return self.enforced and bool(self.contract.gates) and self.contract.stream == "hold"

    @cached_property
    def routes(self) -> frozenset[str]:
        """Nodes it may send control to."""
        return self.declared.routes | (self.contract.routes or frozenset())

    @cached_property
    def sends(self) -> frozenset[str]:
        """Channels that a finished node may write to without a second look."""
        keys = self.declared.keys or frozenset()
        owned = keys if self.contract.writes is None else keys & frozenset(self.contract.writes)
        return owned | {BRANCH + route for route in self.routes}

    @cached_property
    def plain(self) -> Mapping[str, frozenset[type]]:
        """The keys it may write, each with the exact types of values that need no second look."""
        return {key: self._plain(key, kind) for key, kind in self.types.items()}

    def _plain(self, key: str, kind: Any) -> frozenset[type]:
        if kind is None or kind is Any:
            return HARMLESS
        if not isinstance(kind, type) or (key in self.declared.reducers and issubclass(kind, (dict, Overwrite))):
            return frozenset()  # a generic type is for pydantic; a mapping may say that it replaces all there is
        return frozenset({kind})

    @cached_property
    def types(self) -> Mapping[str, Any]:
        """The keys it may write, each with the type that is checked (None: any)."""
        declared, contract = self.declared, self.contract
        owned = contract.writes if contract.writes is not None else (declared.keys or ())
        known: dict[str, Any] = {}
        for key in owned:
            if "types" in contract.waives or key not in (declared.keys or ()):
                known[key] = None
            elif isinstance(contract.writes, Mapping):
                known[key] = contract.writes[key]
            else:
                known[key] = None if key in declared.reducers else declared.types.get(key)
        return known
