"""What a node may read, write, call, reach and spend: frozen values, checked when they are built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from governance import undos
from governance.context.settings import Context
from governance.errors import ContractError
from governance.fallbacks import Cached, Plain, stages, told

if TYPE_CHECKING:
    from governance.call import ToolCall
    from governance.fallbacks import Stage
    from governance.gates import Gate

Constraint = Callable[[Any, "ToolCall"], str | None]
"""Looks at one argument of a tool call and returns why it is refused, or None."""

Waivable = Literal["cache", "overwrite", "mutation", "unknown_keys", "types", "tools", "hosts", "routes", "loops"]
EFFECT_MARK = "__sidecar_effect__"
T = TypeVar("T")


@dataclass(frozen=True)
class SideEffect:
    """What a tool does to the world; it decides whether a repeat is harmless and how to take it back.

    `key` is a format string over the tool's arguments (`"refund:{order_id}"`): the business identity
    of the effect. `undo(args, outcome)` reverses a finished effect: once, unless it is `undo_idempotent`;
    `undone(args, outcome)` tells whether it did, where nobody saw its end. `dry_run(args)` tells what would
    happen, `reconcile(args)` finds the outcome of an effect whose end nobody saw, or returns None.
    `declines` says that an error result of the tool (a `ToolMessage` with status `error`) means that
    nothing happened; without it, the effect is in doubt after one, unless it is idempotent.
    """

    kind: Literal["read", "write", "external"]
    idempotent: bool = field(default=False, kw_only=True)
    declines: bool = field(default=False, kw_only=True)
    key: str | None = field(default=None, kw_only=True)
    undo: Callable[[Mapping[str, Any], Any], Any] | None = field(default=None, kw_only=True)
    undo_idempotent: bool = field(default=False, kw_only=True)
    undone: Callable[[Mapping[str, Any], Any], bool] | None = field(default=None, kw_only=True)
    dry_run: Callable[[Mapping[str, Any]], str] | None = field(default=None, kw_only=True)
    reconcile: Callable[[Mapping[str, Any]], Any | None] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.kind not in ("read", "write", "external"):
            raise ContractError(
                f"SideEffect kind must be 'read', 'write' or 'external', not {self.kind!r}", kind=self.kind
            )
        if self.undo is None and (self.undo_idempotent or self.undone is not None):
            raise ContractError("undo_idempotent and undone say something of an undo; give SideEffect(undo=...) too")

    @property
    def changes(self) -> bool:
        return self.kind != "read"


READ = SideEffect("read")


def declares(effect: SideEffect) -> Callable[[T], T]:
    """Declare the side effect of a LangChain tool; every governed call of the tool then honours it."""

    if effect.changes:
        expect_effects()

    def mark(tool: T) -> T:
        # Tools are pydantic models that forbid unknown attributes, yet they copy their __dict__.
        vars(tool)[EFFECT_MARK] = effect
        if effect.changes:
            undos.declare(str(getattr(tool, "name", "")), effect)
        return tool

    return mark


def expect_effects() -> None:
    """Say that code of this process has effects: what leads to them is remembered from now on."""
    global _expected
    _expected = True


def effects_expected() -> bool:
    """Whether any code of this process has said that it has effects; a tool that says nothing passes as a read."""
    return _expected


_expected = False


def effect_of(tool: Any) -> SideEffect | None:
    """The effect that a tool declares, or None when it declares nothing."""
    found = getattr(tool, "__dict__", {}).get(EFFECT_MARK)
    return found if isinstance(found, SideEffect) else None


@dataclass(frozen=True)
class Tool:
    """Leave to call one tool, with `where` constraints on its arguments.

    With `approval`, a person approves the exact arguments before each call. With
    `refusals="answer"` a refused call is answered with the reason, as a tool result the model can
    read, instead of ending the node; the tool does not run in either case.
    """

    name: str
    where: Mapping[str, Constraint] = field(default_factory=dict)
    approval: Approval | None = field(default=None, kw_only=True)
    refusals: Literal["raise", "answer"] = field(default="raise", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", MappingProxyType(dict(self.where)))


@dataclass(frozen=True)
class Approval:
    """A person decides before anything is committed; no answer within `expires` seconds is a no."""

    reason: str = "this step needs a person's approval"
    expires: float = field(default=24 * 3600.0, kw_only=True)
    by: frozenset[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.by is not None:
            object.__setattr__(self, "by", frozenset(self.by))
        if self.expires <= 0:
            raise ContractError(f"Approval.expires must be more than 0 seconds, not {self.expires}")


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What one node promises and may do; everything it does not name is refused in enforce mode.

    `reads`, `writes`: state keys; None means all keys of the schema. `writes` may map keys to types,
    otherwise the schema's own types are checked. `routes`: nodes it may send control to besides the
    edges drawn in the graph. `tools`: names or `Tool` with argument constraints. `effects`: effects of
    tools that declare none. `hosts`: what it may connect to outside tools and models. `tokens`: prompt
    and completion of all its model calls in one execution. `timeout`: seconds. `attempts`: executions
    at most, the first included, when a gate or the contract asks for a repair. `feedback`: the state
    key that carries a gate's words where the state has no messages. `stream`: tokens of a gated node
    are held back until its gates have passed, or leave at once with `{"governance": "unverified"}` in
    their metadata. `waives` switches single checks off and is listed in the coverage report.

    `fallback`: what runs in place of a node that has failed for good: a function or runnable, the name of
    another node of the graph, or a mapping that is its update. `fallbacks`: what stands in for a model or a
    tool, by its name. `on_failure="isolate"`: a node that has failed for good stops no other; control goes
    to `failure_route`, else along its plain edges. `reads_failures`: it may ask what was isolated.
    """

    reads: frozenset[str] | None = None
    writes: Mapping[str, Any] | frozenset[str] | None = None
    routes: frozenset[str] | None = None
    tools: Mapping[str, Tool] = field(default_factory=dict)
    effects: Mapping[str, SideEffect] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset()
    processes: bool = False
    tokens: int | None = None
    timeout: float | None = None
    gates: tuple[Gate, ...] = ()
    approval: Approval | None = None
    role: str | None = None
    attempts: int = 1
    feedback: str | None = None
    stream: Literal["hold", "mark"] = "hold"
    context: Context | None = None
    waives: frozenset[Waivable] = frozenset()
    fallback: Any = None
    fallbacks: Mapping[str, tuple[Stage, ...]] = field(default_factory=dict)
    on_failure: Literal["stop", "isolate"] = "stop"
    failure_route: str | None = None
    reads_failures: bool = False
    observed: str | None = None

    def __init__(
        self,
        *,
        reads: Iterable[str] | None = None,
        writes: Mapping[str, Any] | Iterable[str] | None = None,
        routes: Iterable[str] | None = None,
        tools: Iterable[Tool | str] = (),
        effects: Mapping[str, SideEffect] | None = None,
        hosts: Iterable[str] = (),
        processes: bool = False,
        tokens: int | None = None,
        timeout: float | None = None,
        gates: Iterable[Gate] = (),
        approval: Approval | None = None,
        role: str | None = None,
        attempts: int = 1,
        feedback: str | None = None,
        stream: Literal["hold", "mark"] = "hold",
        context: Context | None = None,
        waives: Iterable[Waivable] = (),
        fallback: Any = None,
        fallbacks: Mapping[str, Any] | None = None,
        on_failure: Literal["stop", "isolate"] = "stop",
        failure_route: str | None = None,
        reads_failures: bool = False,
        observed: str | None = None,
    ) -> None:
        rules = [t if isinstance(t, Tool) else Tool(t) for t in _several(tools, "tools")]
        values: dict[str, Any] = {
            "reads": None if reads is None else frozenset(_several(reads, "reads")),
            "writes": _writes(writes),
            "routes": None if routes is None else frozenset(_several(routes, "routes")),
            "tools": MappingProxyType({rule.name: rule for rule in rules}),
            "effects": MappingProxyType(dict(effects or {})),
            "hosts": frozenset(h.lower() for h in _several(hosts, "hosts")),
            "processes": processes,
            "tokens": _positive(tokens, "tokens"),
            "timeout": _positive(timeout, "timeout"),
            "gates": tuple(_several(gates, "gates")),
            "approval": approval,
            "role": role,
            "attempts": _positive(attempts, "attempts"),
            "feedback": feedback,
            "stream": stream,
            "context": context,
            "waives": frozenset(_several(waives, "waives")),
            "fallback": _fallback(fallback),
            "fallbacks": stages(fallbacks or {}),
            "on_failure": _on_failure(on_failure, failure_route),
            "failure_route": failure_route,
            "reads_failures": reads_failures,
            "observed": observed,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        for name in self.fallbacks.keys() & self.tools.keys():
            if any(not isinstance(one, (Cached, Plain)) for one in self.fallbacks[name]):
                raise ContractError(f"Contract.fallbacks[{name!r}] names a model, and {name!r} is a tool")

    @classmethod
    def observe(cls, *, reason: str) -> Contract:
        """A waiver: the node is recorded and nothing is enforced on it; `reason` is listed."""
        if not reason.strip():
            raise ContractError("Contract.observe needs a reason that an auditor can read")
        return cls(observed=reason)

    @classmethod
    def permissive(cls) -> Contract:
        """Every check runs and none is narrower than LangGraph itself; a start for migration."""
        return cls(
            waives=get_args(Waivable),
            processes=True,
        )

    def narrowed(self, **changes: Any) -> Contract:
        """A copy with some fields changed, validated like a new one."""
        current = {f.name: getattr(self, f.name) for f in fields(self)}
        current["tools"] = tuple(self.tools.values())
        return Contract(**{**current, **changes})

    @cached_property
    def digest(self) -> str:
        """Short digest of everything that can change a decision; stored with what it allowed."""
        from governance.canonical import digest
        from governance.fingerprint import fingerprint

        described = {f.name: fingerprint(getattr(self, f.name)) for f in fields(self)}
        described["fallbacks"] = {name: fingerprint(told(one)) for name, one in self.fallbacks.items()}
        return digest(described)[:16]

    @property
    def enforced(self) -> bool:
        return self.observed is None

    @property
    def isolates(self) -> bool:
        return self.on_failure == "isolate"

    @property
    def outlives(self) -> bool:
        """Whether it says what follows the last attempt of its node."""
        return self.isolates or self.fallback is not None

    def tool(self, name: str) -> Tool | None:
        """The rule for a tool, or None when the node may not call it."""
        found = self.tools.get(name)
        if found is None and "tools" in self.waives:
            return Tool(name)
        return found


def _several(given: Iterable[Any], name: str) -> tuple[Any, ...]:
    if isinstance(given, str):
        raise ContractError(f"Contract.{name} takes several values; write ({given!r},)", field=name)
    return tuple(given)


def _writes(given: Mapping[str, Any] | Iterable[str] | None) -> Mapping[str, Any] | frozenset[str] | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return MappingProxyType(dict(given))
    return frozenset(_several(given, "writes"))


def _fallback(given: Any) -> Any:
    if given is None or isinstance(given, str) or callable(given) or hasattr(given, "invoke"):
        return given
    if isinstance(given, Mapping):
        return MappingProxyType(dict(given))
    raise ContractError(
        f"Contract.fallback must be a function, a runnable, the name of a node, or a mapping, not {given!r}"
    )


def _on_failure(given: Any, route: str | None) -> Any:
    if given not in ("stop", "isolate"):
        raise ContractError(f"Contract.on_failure must be 'stop' or 'isolate', not {given!r}")
    if route is not None and given == "stop":
        raise ContractError("Contract.failure_route is where an isolated node leads; set on_failure='isolate' too")
    return given


def _positive(value: Any, name: str) -> Any:
    if value is not None and value <= 0:
        raise ContractError(f"Contract.{name} must be more than 0, not {value!r}", field=name)
    return value


__all__ = [
    "READ",
    "Approval",
    "Constraint",
    "Contract",
    "SideEffect",
    "Tool",
    "declares",
    "effect_of",
    "replace",
]
