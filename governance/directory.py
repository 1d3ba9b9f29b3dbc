"""Which dependency a call asks: the name operators know it by, and what holds for it."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from governance.call import ModelCall, NodeCall, ToolCall
from governance.plane.dependencies import Dependencies, Dependency

if TYPE_CHECKING:
    from governance.fallbacks import Stage
    from governance.policy import Policy

ENDPOINTS = ("openai_api_base", "base_url", "anthropic_api_url", "endpoint", "azure_endpoint")
"""Where models of LangChain keep the address of their provider."""


class Directory:
    """The dependencies of one policy, in a process that shares them."""

    def __init__(self, policy: Policy, dependencies: Dependencies) -> None:
        self._general = policy.failures
        self._own = {member: one for one in policy.dependency for member in one.known_as}
        self._shared = dependencies
        self._born = dependencies.born
        self._found: dict[tuple[str, ...], Dependency] = {}
        self.governs = bool(self._general) or any(bool(self._general.met(one)) for one in policy.dependency)
        """Whether anything is set at all; where not, no filter of these stands in any chain."""
        self.times = policy.timeout is not None or any(one.timeout is not None for one in policy.dependency)
        """Whether any try has a timeout."""
        self.stands_in = any(one.stages for one in policy.dependency)
        """Whether operators have set anything that stands in for a dependency."""

    def stages(self, call: ModelCall | ToolCall) -> tuple[Stage, ...]:
        """What stands in for a dependency: as the contract says, then as operators say."""
        names, given = names_of(call), call.contract.fallbacks
        own = next((self._own[name] for name in names if name in self._own), None)
        return next((given[name] for name in names if name in given), ()) + (() if own is None else own.stages)

    def of(self, call: ModelCall | ToolCall) -> Dependency:
        """The dependency that a model or tool call asks."""
        return self._named(names_of(call))

    def of_node(self, call: NodeCall) -> Dependency:
        """A node whose own code fails stands for what it asks, of which nobody knows more."""
        return self._named((f"node:{call.place}",))

    def known(self, name: str) -> Dependency | None:
        """A dependency that was met before, by its name."""
        return next((one for one in self._shared.all() if one.name == name), None)

    def _named(self, names: tuple[str, ...]) -> Dependency:
        if self._born is not self._shared.born:
            self._born, self._found = self._shared.born, {}
        found = self._found.get(names)
        if found is None:
            own = next((self._own[name] for name in names if name in self._own), None)
            known = (names[0], self._general) if own is None else (own.name, self._general.met(own))
            found = self._found[names] = self._shared.get(*known)
        return found


def names_of(call: ModelCall | ToolCall) -> tuple[str, ...]:
    """The names that a dependency is known by, the most exact first."""
    if isinstance(call, ToolCall):
        return (f"tool:{call.name}", call.name)
    host = endpoint(call.model)
    full = f"{call.name}@{host}" if host else call.name
    return (f"model:{full}", full, f"model:{call.name}", call.name, host)


def endpoint(model: Any) -> str:
    """Host and port of a model's provider; empty where the model does not tell."""
    held, kind = vars(model), cast("Any", type(model))
    for name in ENDPOINTS:
        # Asking a pydantic model for what it does not have costs more than the rest of a filter.
        value = held[name] if name in held else getattr(model, name, None) if name in _computed(kind) else None
        if isinstance(value, str) and value:
            return urlsplit(value).netloc.rpartition("@")[2]  # a name and a word in it are nobody's business
    return ""


@functools.lru_cache
def _computed(kind: type) -> frozenset[str]:
    """The addresses that a class works out, and does not hold."""
    return frozenset(name for name in ENDPOINTS if inspect.getattr_static(kind, name, None) is not None)
