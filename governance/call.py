"""The protocol on one screen: a call, what a filter may yield, and what a filter is.

A filter is a generator around one call. It yields what it needs and never performs it, so the same
text serves sync and async (the shape of `httpx.Auth.auth_flow`):

    def stopwatch(call: Call) -> Flow:
        started = time.monotonic()
        update = yield Proceed(call)          # the rest of the chain, then the node
        print(call.path, time.monotonic() - started)
        return update
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from langgraph.errors import GraphInterrupt

    from governance.bound import Bound, Declared
    from governance.contracts import Contract
    from governance.errors import Refusal
    from governance.plane.requests import Request
    from governance.plane.sessions import Session
    from governance.sidecar import Governance

Boundary = Literal["node", "model", "tool"]
State = Literal["open", "running", "judged", "sending", "over"]
"""Filters before the node, its code, filters after it, its writers and routers, and the end."""
Update: TypeAlias = Any
"""What a node returns: a mapping, a `Command`, a list of these, a model, a dataclass, or None."""


@dataclass(slots=True)
class Call:
    """One call at one boundary, as filters see it.

    `path` is structural: where in the graph this is, from the root down (`research#2.0/1:search#1.0`:
    node, superstep, branch, and the ordinal of a nested run). It is the same after a resume, a retry
    and a crash. `execution` is new every time.
    """

    boundary: ClassVar[Boundary]

    name: str
    path: str
    execution: str
    governance: Governance
    session: Session
    contract: Contract
    parent: Call | None

    @property
    def node(self) -> NodeCall:
        """The node (or task) this call happens in; the call itself where it is one."""
        raise NotImplementedError  # no ABC: `isinstance` is asked at every call, and costs more on one


@dataclass
class NodeCall(Call):
    """One execution of a node or task."""

    boundary = "node"

    config: Mapping[str, Any]
    attempt: int
    raw: Any
    """The state as LangGraph gave it; `input` is what the contract lets the node see."""
    projects: bool
    """False for `Send` payloads, which are no state and are not projected."""
    bound: Bound
    # Plain class defaults: most executions never touch these, and a node is a hot path.
    input: Any = field(init=False, default=None)
    state: State = field(init=False, default="open")
    refusal: Refusal | None = field(init=False, default=None)
    ordinals: dict[str, int] | None = field(init=False, default=None)
    tokens: int = field(init=False, default=0)
    question: GraphInterrupt | None = field(init=False, default=None)
    """What a person was asked in this execution and has not answered."""
    effects_done: int = field(init=False, default=0)
    granted: Any = field(init=False, default=None)
    """The writes that were looked at and allowed, each as the very object it was."""
    scheduled: bool = field(init=False, default=False)
    """Whether LangGraph runs it as a `@task` of the node above."""
    origin: Any = field(init=False, default=None)
    """The seam this call came through."""
    started: int = field(init=False, default=0)
    """Nanoseconds of the monotonic clock."""
    seal: str = field(init=False, default="")
    """Strict mode: digest of the state before the node ran."""
    request: Request | None = field(init=False, default=None)
    """Of an outermost node: what has failed in it so far, over all its attempts; None where nothing has."""

    @property
    def node(self) -> NodeCall:
        return self

    @property
    def place(self) -> str:
        """Where the node is, as contracts name it: `research/search`."""
        return self.bound.place

    @property
    def declared(self) -> Declared:
        return self.bound.declared

    def refuse(self, refusal: Refusal) -> Refusal:
        """Latch a refusal: the first one stays, and nothing more starts in this call."""
        if self.refusal is None:
            self.refusal = refusal
        return self.refusal

    def next_ordinal(self, key: str) -> int:
        """0, 1, 2, ... for the same tool or model within this execution."""
        with self.session.lock:
            if self.ordinals is None:
                self.ordinals = {}
            number = self.ordinals.get(key, 0)
            self.ordinals[key] = number + 1
        return number

    def effect_done(self) -> None:
        """Count a finished effect here and in every node above: none of them may run again for quality."""
        node: NodeCall | None = self
        while node is not None:
            node.effects_done += 1
            node = node.parent.node if node.parent is not None else None

    def read(self, key: str) -> Any:
        """A value of the state this node was given, whatever shape the state has.

        Whoever sends a `Send` makes its payload: what the graph's state has counts, and the payload
        only where the state has no such key.
        """
        raw = self.raw
        if not self.projects:
            raw = self.governance.state(self, key) or raw
        return raw.get(key) if isinstance(raw, Mapping) else getattr(raw, key, None)


@dataclass(slots=True)
class ModelCall(Call):
    """One call of a chat model inside a node."""

    boundary = "model"

    messages: list[Any]
    options: Mapping[str, Any]
    model: Any
    started: int = field(init=False, default=0)
    """Nanoseconds of the monotonic clock."""
    prompts: int = 1
    """How many prompts are asked at once; each is answered."""
    prompt_tokens: int = 0
    spent: int = 0
    """Tokens this call was charged, known when it is over."""
    queued: float = field(init=False, default=0.0)
    """Seconds it waited for a place in a bulkhead."""
    form: str = field(init=False, default="")
    """What its caller is given: `chat`, `chunk`, `message`, `messages`, `many messages`, or the same of texts."""
    until: float | None = field(init=False, default=None)
    """When this try has to be over, by the clock of `time.monotonic`, where its dependency has a timeout."""
    streamed: bool = field(init=False, default=False)
    """Whether pieces of its answer have left: they cannot be taken back, so it is not tried again."""

    @property
    def node(self) -> NodeCall:
        assert self.parent is not None
        return self.parent.node


@dataclass(slots=True)
class ToolCall(Call):
    """One call of a tool inside a node; `args` are the arguments as the caller gave them."""

    boundary = "tool"

    args: Mapping[str, Any]
    tool: Any
    call_id: str | None = None
    injected: frozenset[str] = frozenset()
    """The arguments that a model does not see and its caller gives by itself."""
    started: int = field(init=False, default=0)
    """Nanoseconds of the monotonic clock."""
    given: bytes = field(init=False, default=b"")
    """The arguments before the tool ran, in canonical form: it may change them."""
    queued: float = field(init=False, default=0.0)
    """Seconds it waited for a place in a bulkhead."""
    until: float | None = field(init=False, default=None)
    """When this try has to be over, by the clock of `time.monotonic`, where its dependency has a timeout."""
    began: bool = field(init=False, default=False)
    """Whether the tool's own code began; where its arguments did not fit it, nothing did."""
    repeats: bool = field(init=False, default=True)
    """Whether a filter may run it twice; a block of code cannot be."""
    reused: bool = field(init=False, default=False)
    """Whether it was answered with what is known from before; the tool was not called."""
    asks: Callable[[], None] | None = field(init=False, default=None)
    """To be done, durably, before a question leaves that the tool's own code asked."""

    @property
    def node(self) -> NodeCall:
        assert self.parent is not None
        return self.parent.node


class Slot(Protocol):
    """Something held for the length of a call: a bulkhead's place, a reservation of tokens."""

    def take(self) -> None: ...
    def release(self) -> None: ...


class Proceed:
    """Run the rest of the chain, then the node, model or tool; the answer is its result.

    `within` bounds it in seconds: what cannot be interrupted is abandoned and can start nothing more. Then
    `late` makes the error; without it, the node is refused.
    """

    __slots__ = ("call", "late", "within")

    def __init__(self, call: Call, within: float | None = None, late: Callable[[], Exception] | None = None) -> None:
        self.call = call
        self.within = within
        self.late = late


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait without blocking anybody else."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Take a slot now; the driver releases it when the filter is over, however it ends."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Run:
    """Do blocking work: called as it is in sync code, off the event loop in async code."""

    work: Callable[[], Any]
    awork: Callable[[], Awaitable[Any]] | None = None


Effect = Proceed | Sleep | Hold | Run
Flow: TypeAlias = Generator[Effect, Any, Any]
After: TypeAlias = Callable[[Any, Any], Any]
"""Given the call and its result: what a filter makes of the result, or a flow that finds out.

Errors pass it by; where it has an attribute `failed`, that is called with the call and the error.
"""
Entered: TypeAlias = Flow | After


def also_told(failed: Callable[[Any, BaseException], None]) -> Callable[[After], After]:
    """Makes an `After` that also hears of errors, without a generator's cost at every call."""

    def mark(after: After) -> After:
        after.failed = failed  # type: ignore[attr-defined]  # a function takes attributes; its type does not say so
        return after

    return mark


class Filter(Protocol):
    """One concern around one call: look, change, refuse, or go on with `Proceed`.

    A filter that asks for nothing but the call may be a plain function: it raises, or returns None, or
    returns the function that is given the call and the result and gives back what becomes of it.
    """

    def __call__(self, call: Any, /) -> Flow | After | None: ...
