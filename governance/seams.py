"""The only file that touches LangGraph and LangChain internals. Six seams, inert outside a governed call.

1. node step: the compiled node's run sequence is replaced; its `.bound` is left alone
2. tasks: every `@task` that a governed call schedules runs inside a chain of its own
3. sends: what a node finally writes and where it sends control, after LangGraph normalised it
4. models and tools: `BaseTool.run` and the models' generate and stream methods (`governance.patches`)
5. doors: `stream`, `update_state` and `Command` input on compiled graphs, copies included
6. raw connections: a Python audit hook (`governance.connections`)

`install` patches once a process, after `probe` has found everything where LangGraph 1.2 has it.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import os
import threading
import time
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableSequence
from langchain_core.runnables.config import patch_config, var_child_runnable_config
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CALL,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_READ,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_THREAD_ID,
    NS_SEP,
    PULL,
    RESUME,
    TASKS,
)
from langgraph._internal._runnable import RunnableSeq
from langgraph.constants import START
from langgraph.errors import GraphBubbleUp, ParentCommand
from langgraph.pregel import Pregel
from langgraph.pregel._read import PregelNode
from langgraph.pregel._retry import _should_retry_on
from langgraph.pregel._write import ChannelWrite, ChannelWriteTupleEntry
from langgraph.types import Command, RetryPolicy, Send

from governance import connections, doors, patches, threads
from governance.bound import BRANCH, UNDECLARED, Bound, Declared
from governance.boundary import (
    CURRENT,
    EXECUTIONS,
    arun_node,
    current_call,
    mark_place,
    missing_contract,
    run_node,
    unmark_place,
)
from governance.call import Call, NodeCall
from governance.covered import Coverage, Covered
from governance.errors import (
    AuthorityRefused,
    ContractError,
    ContractViolation,
    DoorClosed,
    GovernanceError,
    Refusal,
    Revise,
    UnsupportedVersion,
)
from governance.filters.contract import grant, granted, write_problem
from governance.likeness import like
from governance.projection import protected

if TYPE_CHECKING:
    from governance.contracts import Contract
    from governance.sidecar import Governance

RUN: contextvars.ContextVar[int] = contextvars.ContextVar("sidecar_run", default=0)
"""Ordinal of a nested run that starts a checkpoint lineage of its own."""
_lock = threading.Lock()


class Step:
    """One node of one compiled graph; `root` is set where `govern` was called on that very graph."""

    __slots__ = ("bounds", "declared", "inner", "name", "root")

    def __init__(self, name: str, node: PregelNode, declared: Declared) -> None:
        self.name = name
        self.inner: Runnable[Any, Any] = node.bound
        if name == START:
            self.inner = Unchanged()
        elif isinstance(node.bound, RunnableSequence):
            self.inner = Flat(node.bound)
        self.declared = declared
        self.root: Governance | None = None
        self.bounds: dict[str, Bound] = {}

    def bind(self, parent: Call | None) -> tuple[str, Bound] | None:
        """Where this execution is and what binds it; None where nothing governs it."""
        if parent is None:
            return None if self.root is None else (self.name, self._bound(self.name, self.root, None))
        place = f"{parent.node.place}/{self.name}"
        narrower = self.root is not None and (self.root.enforcing or not parent.governance.enforcing)
        if self.root is not None and narrower and parent.governance.contract(place) is None:
            return self.name, self._bound(self.name, self.root, parent)  # a governed graph brings its own
        return place, self._bound(place, parent.governance, parent)

    def _bound(self, place: str, governance: Governance, parent: Call | None) -> Bound:
        known = self.bounds.get(place)
        if known is None or known.governance is not governance:
            known = governance.bind(place, self.declared)
            if known is None:
                raise missing_contract(place, parent)
            self.bounds[place] = known
        return known

    def open(self, given: Any, config: RunnableConfig | None) -> tuple[NodeCall, RunnableConfig] | None:
        """The call of this execution and its guarded config; None where nothing governs it."""
        parent = current_call()
        found = self.bind(parent)
        if found is None or config is None:
            return None
        place, bound = found
        conf, metadata, governance = config[CONF], config["metadata"], bound.governance
        way = metadata.get("langgraph_path") or (PULL,)
        runtime = conf.get(CONFIG_KEY_RUNTIME)
        session = parent.session if parent is not None else governance.session(_session(conf, runtime))
        info = getattr(runtime, "execution_info", None)
        path = f"{self.name}#{metadata.get('langgraph_step', 0)}"
        if way[0] != PULL:
            path += _branch(way)
        if parent is not None:
            path = _prefix(parent, conf) + path
        call = NodeCall(
            self.name, path, EXECUTIONS.next(), governance, session, bound.contract, parent,
            place, config, info.node_attempt if info is not None else 1, given, way[0] == PULL, bound,
        )  # fmt: skip
        call.input, call.origin = given, self
        guarded = {**config, CONF: _guarded_conf(conf, call)}
        if bound.contract.gates and bound.contract.stream == "mark":
            guarded["metadata"] = {**metadata, "governance": "unverified"}
        return call, guarded  # type: ignore[return-value]


def _guarded_conf(conf: dict[str, Any], call: NodeCall) -> dict[str, Any]:
    guard, guarded = _Guard(call, conf), conf.copy()
    if CONFIG_KEY_RESUME_MAP in conf and isinstance(conf[CONFIG_KEY_RESUME_MAP], dict):
        guarded[CONFIG_KEY_RESUME_MAP] = dict(conf[CONFIG_KEY_RESUME_MAP])
    guarded[CONFIG_KEY_CALL] = guard.schedule
    if call.bound.enforced and CONFIG_KEY_SEND in conf:
        guarded[CONFIG_KEY_SEND] = guard.send
        guarded[CONFIG_KEY_READ] = guard
    if CONFIG_KEY_CALL not in conf:
        del guarded[CONFIG_KEY_CALL]
    return guarded


class Unchanged(Runnable[Any, Any]):
    """The input as it is: what a graph's entry is before its edges choose the first node."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return input


class Flat(Runnable[Any, Any]):
    """An LCEL sequence run as LangGraph runs it inside a node: one after the other, without a run of its own."""

    def __init__(self, sequence: RunnableSequence[Any, Any]) -> None:
        self.steps = sequence.steps

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        value = self.steps[0].invoke(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            value = step.invoke(value, _tagged(config, number))
        return value

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        value = await self.steps[0].ainvoke(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            value = await step.ainvoke(value, _tagged(config, number))
        return value

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        pieces = self.steps[0].stream(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            pieces = step.transform(pieces, _tagged(config, number))
        yield from pieces

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        pieces = self.steps[0].astream(input, config, **kwargs)
        for number, step in enumerate(self.steps[1:], 2):
            pieces = step.atransform(pieces, _tagged(config, number))
        async for piece in pieces:
            yield piece


def _tagged(config: RunnableConfig | None, number: int) -> RunnableConfig | None:
    """The config of the n-th step of a sequence: the same parent run, with that step's tag."""
    manager = (config or {}).get("callbacks")
    if config is None or not hasattr(manager, "copy") or not hasattr(manager, "tags"):
        return config
    child = manager.copy()  # type: ignore[union-attr]
    child.tags = [f"seq:step:{number}" if tag == "seq:step:1" else tag for tag in child.tags]
    return patch_config(config, callbacks=child)


class Governed(Runnable[Any, Any]):
    """The first step of a governed node: its chain, and inside it the author's code."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def _own(self) -> NodeCall | None:
        call = CURRENT.get()
        return call if isinstance(call, NodeCall) and call.origin is self.step else None

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        call, inner = self._own(), self.step.inner
        if call is None:
            return inner.invoke(input, config, **kwargs)

        def perform(node: NodeCall) -> Any:
            node.state = "running"
            try:
                return inner.invoke(node.input, config, **kwargs)
            finally:
                node.state = "judged"

        result = run_node(call, perform)
        call.state = "sending"
        return result

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        call, inner = self._own(), self.step.inner
        if call is None:
            return await inner.ainvoke(input, config, **kwargs)

        async def perform(node: NodeCall) -> Any:
            node.state, mark = "running", mark_place(node)  # LangGraph runs the step in a task of its own
            try:
                return await inner.ainvoke(node.input, config, **kwargs)
            finally:
                unmark_place(mark)
                node.state = "judged"

        result = await arun_node(call, perform)
        call.state = "sending"
        return result

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        call, inner = self._own(), self.step.inner
        if call is None:
            yield from inner.stream(input, config, **kwargs)
            return

        def perform(node: NodeCall) -> Any:
            node.state = "running"
            try:
                return _sum(list(inner.stream(node.input, config, **kwargs)))
            finally:
                node.state = "judged"

        result = run_node(call, perform)
        call.state = "sending"
        yield result

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        call, inner = self._own(), self.step.inner
        if call is None:
            async for piece in inner.astream(input, config, **kwargs):
                yield piece
            return

        async def perform(node: NodeCall) -> Any:
            node.state, mark = "running", mark_place(node)
            try:
                return _sum([piece async for piece in inner.astream(node.input, config, **kwargs)])
            finally:
                unmark_place(mark)
                node.state = "judged"

        result = await arun_node(call, perform)
        call.state = "sending"
        yield result


class _entered:
    """One execution of a governed node, from its first step to its last write."""

    __slots__ = ("call", "mark", "token")

    def __init__(self, call: NodeCall) -> None:
        self.call = call

    def __enter__(self) -> None:
        self.token = CURRENT.set(self.call)
        self.mark = mark_place(self.call)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        call = self.call
        unmark_place(self.mark)
        call.input = None  # a view that nobody holds any more can be lent again
        try:
            CURRENT.reset(self.token)
        except ValueError:
            pass  # an abandoned stream is closed in another context, which never saw the call
        call.state = "over"
        if isinstance(error, ParentCommand):
            _check_parent_command(call, error)
        if call.refusal is None and call.question is not None and (error is None or isinstance(error, Exception)):
            if error is not call.question and not isinstance(error, GraphBubbleUp):
                _drop_writes(call)
                raise call.question from error  # the node's code may have swallowed it, and nobody has answered
        if call.refusal is None or error is call.refusal:
            return
        if error is not None and not isinstance(error, Exception):
            return
        _drop_writes(call)
        raise call.refusal from error


class GovernedSeq(RunnableSeq):
    """What LangGraph runs for a governed node: the chain around the author's code, then the writers."""

    def __init__(self, step: Step, node: PregelNode) -> None:
        super().__init__(Governed(step), *node.flat_writers, trace_policy=node.trace_policy)
        self.step = step

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return super().invoke(input, config, **kwargs)
        with _entered(opened[0]):
            return super().invoke(input, opened[1], **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return await super().ainvoke(input, config, **kwargs)
        with _entered(opened[0]):
            return await super().ainvoke(input, opened[1], **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        opened = self.step.open(input, config)
        if opened is None:
            yield from super().stream(input, config, **kwargs)
            return
        with _entered(opened[0]):
            yield from super().stream(input, opened[1], **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        opened = self.step.open(input, config)
        if opened is None:
            async for piece in super().astream(input, config, **kwargs):
                yield piece
            return
        with _entered(opened[0]):
            async for piece in super().astream(input, opened[1], **kwargs):
                yield piece


class GovernedAlone(Governed):
    """A governed node that has no writers, so that LangGraph runs it without a sequence."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return self.step.inner.invoke(input, config, **kwargs)
        with _entered(opened[0]):
            return super().invoke(input, opened[1], **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        opened = self.step.open(input, config)
        if opened is None:
            return await self.step.inner.ainvoke(input, config, **kwargs)
        with _entered(opened[0]):
            return await super().ainvoke(input, opened[1], **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        yield self.invoke(input, config, **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        yield await self.ainvoke(input, config, **kwargs)


def _sum(pieces: list[Any]) -> Any:
    """A node's streamed pieces as one update, added where they can be, else the last one (as LangGraph does)."""
    total: Any = None
    for piece in pieces:
        if total is None:
            total = piece
            continue
        try:
            total = total + piece
        except TypeError:
            total = piece
    return total


def _prefix(parent: Call | None, conf: Mapping[str, Any]) -> str:
    """The path down to a nested run; its ordinal tells apart the runs that one node starts."""
    if parent is None:
        return ""
    own = conf.get(CONFIG_KEY_CHECKPOINT_NS) or ""
    above = parent.node.config.get(CONF, {}).get(CONFIG_KEY_CHECKPOINT_NS) or ""
    if above and own.startswith(above + NS_SEP):
        # LangGraph goes on counting when it retries the parent; what counts here is this execution.
        first = own[len(above) + 1 :].partition(NS_SEP)[0]
        return f"{parent.path}/{parent.node.run_number(first if first.isdigit() else '0')}:"
    return f"{parent.path}/r{RUN.get()}:"


def _branch(path: Sequence[Any]) -> str:
    """Which of several `Send`s of one superstep an execution belongs to."""
    return "" if path[0] == PULL else f".s{path[1]}"


def _session(conf: Mapping[str, Any], runtime: Any) -> str:
    """The thread's id; a run without a thread is a session of its own, named so that its rows are appended."""
    thread = conf.get(CONFIG_KEY_THREAD_ID)
    if thread is not None:
        return str(thread).encode("utf-8", "backslashreplace").decode()
    control = getattr(runtime, "control", None)
    known = _runs.get(id(control))
    if known is None or known[0] is not control:
        with _lock:
            while len(_runs) >= RUNS_KEPT:
                _runs.pop(next(iter(_runs)), None)
            known = _runs[id(control)] = (control, f"run-{time.time_ns():016x}{os.urandom(8).hex()}")
    return known[1]


_runs: dict[int, tuple[Any, str]] = {}
RUNS_KEPT = 4096


class _Guard:
    """Seams 2 and 3: LangGraph's own ways to write, read and schedule, as one execution may use them."""

    __slots__ = ("allowed", "call", "conf")

    def __init__(self, call: NodeCall, conf: Mapping[str, Any]) -> None:
        self.call = call
        self.conf = conf
        self.allowed = call.bound.sends

    def send(self, writes: Sequence[tuple[str, Any]]) -> None:
        """Let through what was granted after LangGraph normalised it; judge in full whatever else is sent."""
        call, allowed = self.call, self.allowed
        plain = call.granted if type(call.granted) is dict else {}
        for key, value in writes:
            if key in allowed and call.state == "sending" and (value is None or plain.get(key) is value):
                continue
            problem = _send_problem(key, value, call)
            if problem is not None:
                raise call.refuse(ContractViolation(f"{call.place} {problem}", key=key))
        self.conf[CONFIG_KEY_SEND](writes)

    @property
    def args(self) -> tuple[Any, ...]:
        """As on LangGraph's own reader, a partial: a `ToolNode` takes the names of the channels from it."""
        return None, dict.fromkeys(self.conf[CONFIG_KEY_READ].args[1])

    def __call__(self, select: str | Sequence[str], fresh: bool = False) -> Any:
        """The node's code reads what its contract names, as copies; its routers read all of the state."""
        call, read = self.call, self.conf[CONFIG_KEY_READ]
        if call.state != "running":
            return read(select, fresh)
        reads = call.contract.reads
        for key in (select,) if isinstance(select, str) else select:
            if reads is not None and call.projects and key not in reads:
                raise call.refuse(ContractViolation(f"{call.place} read {key!r}, which its contract does not name"))
        found = read(select, fresh)
        if "mutation" in call.contract.waives:
            return found
        return protected(found) if isinstance(select, str) else {k: protected(v) for k, v in found.items()}

    def schedule(self, func: Any, given: Any, **options: Any) -> Any:
        """Every scheduled task runs governed, and is never retried after a refusal."""
        call = self.call
        if options.get("cache_policy") is not None and call.bound.enforced and "cache" not in call.contract.waives:
            raise call.refuse(DoorClosed(f"{call.place} runs a cached task; a hit would pass the contract by"))
        if options.get("retry_policy"):
            options["retry_policy"] = _shielded(options["retry_policy"])
        # Numbered here, in the order of the author's code: tasks may start in any order, and LangGraph's own
        # numbers go on counting when it retries the node.
        number = call.next_ordinal("@task")
        return self.conf[CONFIG_KEY_CALL](_governed_task(func, call, number), given, **options)


def _send_problem(key: str, value: Any, call: NodeCall) -> str | None:
    declared, contract, running = call.declared, call.contract, call.state == "running"
    if call.state == "over" or call.refusal is not None:
        return f"wrote {key!r} after its execution had ended"
    if key == TASKS or key.startswith(BRANCH):
        return _route_problem(value.node if isinstance(value, Send) else key[len(BRANCH) :], call)
    if declared.keys is not None and key in declared.keys:
        if granted(key, value, call):
            return None
        if contract.gates or contract.approval is not None:
            return f"wrote {key!r} beside its update, where its gates cannot see it"
        return write_problem(key, value, call)
    if declared.keys is None or (key.startswith("join:") and not running):
        return None
    if key == RESUME and isinstance(value, list):
        answers = getattr(call.config[CONF].get(CONFIG_KEY_SCRATCHPAD), "resume", ())
        if value == list(answers)[: len(value)]:
            return None  # interrupt() keeps the answers it was given
    return f"wrote to LangGraph's own channel {key!r}"


def _route_problem(target: str, call: NodeCall) -> str | None:
    declared, contract = call.declared, call.contract
    open_ended = declared.open_ended and contract.routes is None and call.state == "sending"
    if open_ended or "routes" in contract.waives or target in call.bound.routes or declared.writes is None:
        return None
    return f"sent control to {target!r}, which neither the graph nor its contract allows"


def _governed_task(func: Any, parent: NodeCall, number: int) -> Any:
    if inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(getattr(func, "__call__", None)):

        @_named_like(func)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            call, config = _open_task(func, parent, number, args, kwargs)
            with _final(parent), _entered(call), _configured(config):
                return await arun_node(call, lambda node: func(*args, **kwargs))

        return arun

    @_named_like(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        call, config = _open_task(func, parent, number, args, kwargs)
        with _final(parent), _entered(call), _configured(config):
            return run_node(call, lambda node: func(*args, **kwargs))

    return run


def _named_like(func: Any) -> Callable[[Any], Any]:
    """`functools.wraps`, with the name LangGraph would give a partial or a callable object."""

    def rename(wrapper: Any) -> Any:
        wrapper = functools.wraps(func)(wrapper)
        if not hasattr(func, "__name__"):
            wrapper.__name__ = getattr(getattr(func, "func", None), "__name__", type(func).__name__)
        return wrapper

    return rename


def _open_task(func: Any, parent: NodeCall, number: int, args: Any, kwargs: Any) -> tuple[NodeCall, RunnableConfig]:
    config = var_child_runnable_config.get() or {}
    metadata, conf = config.get("metadata") or {}, config.get(CONF) or {}
    name = str(metadata.get("langgraph_node") or getattr(func, "__name__", "task"))
    place = f"{parent.place}/{name}"
    bound = parent.governance.bind(place, UNDECLARED)
    if bound is None:
        raise missing_contract(place, parent)
    info = getattr(conf.get(CONFIG_KEY_RUNTIME), "execution_info", None)
    path = f"{parent.path}/{name}.c{number}"
    call = NodeCall(
        name, path, EXECUTIONS.next(), parent.governance, parent.session, bound.contract, parent, place, config,
        info.node_attempt if info is not None else 1, {"args": args, "kwargs": kwargs}, False, bound,
    )  # fmt: skip
    call.state = "running"
    return call, {**config, CONF: _guarded_conf(conf, call)}


class _final:
    """A refusal that leaves a nested run or task is final for the node it leaves into."""

    __slots__ = ("parent",)

    def __init__(self, parent: Call) -> None:
        self.parent = parent

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Refusal):
            self.parent.node.refuse(error)


class _configured:
    """Makes a config the one that LangGraph finds in this context."""

    def __init__(self, config: RunnableConfig) -> None:
        self.config = config

    def __enter__(self) -> None:
        self.token = var_child_runnable_config.set(self.config)

    def __exit__(self, *error: object) -> None:
        var_child_runnable_config.reset(self.token)


def _check_parent_command(call: NodeCall, command: ParentCommand) -> None:
    """A command from inside a nested graph that this graph will follow: judged like the node's own."""
    given: Command[Any] = command.args[0]
    namespace = call.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    own = {
        namespace,
        NS_SEP.join(p.partition(":")[0] for p in namespace.split(NS_SEP) if not p.isdigit()),
        call.name,
    }
    if given.graph not in own or not (call.governance.enforcing and call.contract.enforced):
        return
    problem = grant(Command(update=given.update, goto=given.goto), call)
    if problem is not None:
        raise call.refuse(ContractViolation(f"{call.place} {problem} (from inside its nested graph)")) from None


def _drop_writes(call: NodeCall) -> None:
    written = getattr(call.config.get(CONF, {}).get(CONFIG_KEY_SEND), "__self__", None)
    if hasattr(written, "clear"):
        written.clear()


def _shielded(policies: Any) -> tuple[RetryPolicy, ...]:
    """Retry policies that never retry what governance refused; its decisions are not weather."""
    given = (policies,) if isinstance(policies, RetryPolicy) else tuple(policies or ())
    return tuple(p._replace(retry_on=functools.partial(_retries, p)) for p in given)


def _retries(policy: RetryPolicy, error: Exception) -> bool:
    return not isinstance(error, GovernanceError) and _should_retry_on(policy, error)


def _revises(error: Exception) -> bool:
    return isinstance(error, Revise)


REVISIONS = RetryPolicy(initial_interval=0.0, backoff_factor=1.0, max_attempts=1_000, jitter=False, retry_on=_revises)


def step_of(node: PregelNode) -> Step | None:
    ran = node.__dict__.get("node")
    return ran.step if isinstance(ran, (GovernedSeq, GovernedAlone)) else None


def governance_of(graph: Pregel) -> Governance | None:
    """What `govern` bound to this graph or to the graph it is a copy of."""
    for node in graph.nodes.values():
        step = step_of(node)
        if step is not None and step.root is not None:
            return step.root
    return None


def attach(graph: Any, governance: Governance) -> None:
    """Seam 1 for a whole graph and the nested graphs LangGraph finds in it; all or nothing."""
    if not isinstance(graph, Pregel):
        raise ContractError(
            f"govern() takes a compiled graph (builder.compile(), create_agent(...), @entrypoint), not {type(graph).__name__}"
        )
    if (call := current_call()) is not None:
        raise call.node.refuse(AuthorityRefused(f"{call.node.place} tried to govern a graph again", code="operator"))
    _validate(graph, governance)
    _attach(graph, governance, seen=set())


def _attach(graph: Pregel, governance: Governance, *, seen: set[int], nested: bool = False) -> None:
    if id(graph) in seen:
        return
    seen.add(id(graph))
    for name, node in graph.nodes.items():
        if node.node is None or (name == START and not _chooses(node)):
            continue
        step = step_of(node)
        if step is None:
            step = Step(name, node, _declared(graph, name, node))
            node.__dict__["node"] = GovernedSeq(step, node) if node.flat_writers else GovernedAlone(step)
        if not nested:
            step.root = governance
        if governance.enforcing:
            _own_retries(graph, node)
        for subgraph in node.subgraphs:
            if isinstance(subgraph, Pregel):
                _attach(subgraph, governance, seen=seen, nested=True)


def _chooses(entry: PregelNode) -> bool:
    """Whether the graph's entry runs code of the author's: a conditional edge that picks the first node."""
    return any(not isinstance(writer, ChannelWrite) for writer in entry.writers)


def _own_retries(graph: Pregel, node: PregelNode) -> None:
    current = tuple(node.retry_policy or graph.retry_policy or ())
    if REVISIONS not in current:
        node.retry_policy = (REVISIONS, *_shielded(current))


def _declared(graph: Pregel, name: str, node: PregelNode) -> Declared:
    builder = getattr(graph, "builder", None)
    spec = builder.nodes.get(name) if builder is not None else None
    if builder is None or spec is None:
        return UNDECLARED
    routes = {end for start, end in builder.edges if start == name}
    routes |= {end for starts, end in builder.waiting_edges if name in starts}
    ends = [branch.ends for branch in builder.branches.get(name, {}).values()]
    for known in (*ends, spec.ends):
        routes |= set(known.values() if isinstance(known, Mapping) else known or ())
    types: dict[str, Any] = {}
    for kind in builder.schemas:
        types.update(_hints(kind))
    channels = builder.channels
    keyed = "__root__" not in channels
    return Declared(
        keys=frozenset(channels) | frozenset(builder.managed) if keyed else None,
        types={key: types[key] for key in channels if key in types} if keyed else {},
        routes=frozenset(routes),
        reducers=frozenset(k for k, c in channels.items() if type(c).__name__ != "LastValue"),
        writes=_splitter(node),
        open_ended=any(known is None for known in ends),
    )


def _hints(kind: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except Exception:  # names that exist only while type checking; such keys are not type-checked
        return {}


def _splitter(node: PregelNode) -> Callable[[Any], tuple[list[tuple[str, Any]], list[str]]] | None:
    """LangGraph's own mapping of an update to writes, asked before it is carried out."""
    entries = getattr(node.writers[0], "writes", ()) if node.writers else ()
    mappers = [e.mapper for e in entries if isinstance(e, ChannelWriteTupleEntry)]
    if len(mappers) != 2:
        return None
    updates, control = mappers

    def split(update: Any) -> tuple[list[tuple[str, Any]], list[str]]:
        pairs = list(updates(update) or ())
        if type(update) is dict:
            return pairs, []
        try:
            sent = control(update)
        except ParentCommand:
            return pairs, []
        return pairs, [v.node if isinstance(v, Send) else k[len(BRANCH) :] for k, v in sent]

    return split


def _validate(graph: Pregel, governance: Governance) -> None:
    """Contracts must fit the graph before anything is changed."""
    places = dict(_places(graph, "", set()))
    top = {place for place in places if "/" not in place}
    if not governance.enforcing:
        return
    for pattern, contract in governance.contracts.items():
        exact = not any(sign in pattern for sign in "*?[")
        if exact and pattern not in places and pattern.split("/")[0] not in top:
            raise ContractError(f"there is a contract for {pattern!r}, but the graph has: {', '.join(sorted(places))}")
        if exact and "/" not in pattern and pattern not in places:
            raise ContractError(f"there is a contract for {pattern!r}, but the graph has: {', '.join(sorted(places))}")
        if not hasattr(contract, "enforced"):
            raise ContractError(f"the contract for {pattern!r} is a {type(contract).__name__}, not a Contract")
    for place in sorted(places):
        contract = governance.contract(place)
        if contract is None:
            own = step_of(places[place][1]) if "/" in place else None
            if own is not None and own.root is not None:
                continue  # a nested graph that was governed by itself brings its own contracts
            raise ContractError(
                f"node {place!r} has no contract; give it one, a pattern, or Contract.observe(reason=...)",
                place=place,
            )
        if contract.enforced:
            _validate_node(place, contract, *places[place])


def _validate_node(place: str, contract: Contract, graph: Pregel, node: PregelNode) -> None:
    declared = _declared(graph, place.rpartition("/")[2], node)
    if declared.keys is not None:
        named = {
            "reads": contract.reads,
            "writes": contract.writes,
            "feedback": contract.feedback and {contract.feedback},
        }
        for field, keys in named.items():
            for key in keys or ():
                if key not in declared.keys:
                    raise ContractError(
                        f"the contract of {place!r} names {key!r} in {field}, but the state has: {', '.join(sorted(declared.keys))}"
                    )
    if (node.cache_policy or graph.cache_policy) and "cache" not in contract.waives:
        raise ContractError(
            f"node {place!r} has a cache policy: a hit would pass its contract by; remove it or waive 'cache'"
        )


def _places(graph: Pregel, above: str, seen: set[int]) -> Iterator[tuple[str, tuple[Pregel, PregelNode]]]:
    if id(graph) in seen:
        return
    seen = seen | {id(graph)}
    for name, node in graph.nodes.items():
        if name == START or node.node is None:
            continue
        yield above + name, (graph, node)
        for subgraph in node.subgraphs:
            if isinstance(subgraph, Pregel):
                yield from _places(subgraph, f"{above}{name}/", seen)


def coverage(graph: Any) -> Coverage:
    """What governs each node of a graph, as far as it can be known before it runs."""
    governance = governance_of(graph)
    nodes, unknown = [], []
    for place, (_, node) in _places(graph, "", set()):
        step = step_of(node)
        contract = governance.contract(place) if governance else None
        state = "ungoverned" if step is None or governance is None else governance.mode
        if contract is not None and not contract.enforced:
            state = "observed"
        waived = tuple(sorted(contract.waives)) if contract else ()
        reason = (contract.observed or "") if contract else ""
        nodes.append(Covered(place, "node step" if step else "none", state, waived, reason))
        if not node.subgraphs:
            unknown.append(f"{place}: graphs its code builds or finds by itself are governed when they start")
    seams = {
        "node step": "every node listed here",
        "tasks": "every @task a governed node schedules",
        "sends": "every write and route, after LangGraph normalised it",
        "models and tools": "every call from a governed node, also from threads it starts",
        "doors": f"update_state, Command input, rewinds: {governance.doors if governance else 'open'}",
        "raw connections": "sockets and processes of a node's own Python code",
    }
    return Coverage(governance.mode if governance else "ungoverned", tuple(nodes), seams, tuple(unknown))


def resume_answer(call: NodeCall, card: str) -> Any:
    """What a resume brought for this card, or None."""
    outermost = call
    while outermost.parent is not None:  # a node could slip answers into what it hands down
        outermost = outermost.parent.node
    answers = outermost.config.get(CONF, {}).get(CONFIG_KEY_RESUME_MAP)
    return answers.get(card) if isinstance(answers, Mapping) else None


def server_user(call: NodeCall) -> str | None:
    """The user a LangGraph server has authenticated for this run."""
    info = getattr(call.config.get(CONF, {}).get(CONFIG_KEY_RUNTIME), "server_info", None)
    identity = getattr(getattr(info, "user", None), "identity", None)
    return str(identity) if identity else None


def _enter(graph: Pregel, given: Any, config: RunnableConfig | None, *, rewinds: bool) -> Any:
    """Seam 5, runs: judges what a run starts with; governs a nested graph that nobody governed yet."""
    governance = governance_of(graph)
    if governance is None:
        return given
    governance.begin()
    late = [n for n, node in graph.nodes.items() if n != START and node.node is not None and step_of(node) is None]
    if late and governance.enforcing:
        raise DoorClosed(f"node {late[0]!r} was attached after govern(); govern the graph again", code="late-node")
    if late:
        _attach(graph, governance, seen=set())
    if governance.enforcing:
        _refuse_caches(graph, governance, "")
    conf = _conf(graph, config)
    session = str(conf.get(CONFIG_KEY_THREAD_ID) or "")
    return doors.checked_input(governance, session, given, rewinds=rewinds)


def _enter_nested(graph: Pregel, given: Any, config: RunnableConfig | None, parent: Call) -> None:
    """Seam 5, nested runs: judged by the graph's own governance where it enforces one, else by the parent's."""
    own = governance_of(graph)
    governance = own if own is not None and own.enforcing else parent.governance
    RUN.set(parent.node.next_ordinal("@run"))
    if isinstance(given, Command):
        if given.update is not None or given.goto:
            doors.check_update(governance, parent.session.id, "Command(update=, goto=) as input", {})
        doors.check_nested_resume(governance, given, parent)
    around = (var_child_runnable_config.get() or {}).get(CONF) or {}
    named = {**around, **((graph.config or {}).get(CONF) or {}), **((config or {}).get(CONF) or {})}
    if own is not None and named.get(CONFIG_KEY_CHECKPOINT_ID):
        doors.check_update(governance, parent.session.id, "a rewind to an earlier checkpoint", {})
    _attach(graph, parent.governance, seen=set(), nested=True)
    if parent.node.bound.enforced:
        _refuse_caches(graph, parent.governance, f"{parent.node.place}/")


def _refuse_caches(graph: Pregel, governance: Governance, above: str) -> None:
    """A cache hit would run nothing of the chain; looked at again at each run, as a policy may come later."""
    for name, node in graph.nodes.items():
        if name == START or not (node.cache_policy or graph.cache_policy):
            continue
        contract = governance.contract(above + name)
        if contract is not None and contract.enforced and "cache" not in contract.waives:
            closed = DoorClosed(
                f"{above}{name} is cached: a hit would pass its contract by; remove it or waive 'cache'"
            )
            call = current_call()
            raise call.node.refuse(closed) if call is not None else closed


def _conf(graph: Pregel, config: RunnableConfig | None) -> dict[str, Any]:
    """What the run is configured with, from its surroundings down, as LangGraph will merge it."""
    given = {**((graph.config or {}).get(CONF) or {}), **((config or {}).get(CONF) or {})}
    around = (var_child_runnable_config.get() or {}).get(CONF) or {}
    if any(given.get(key) for key in (CONFIG_KEY_THREAD_ID, CONFIG_KEY_CHECKPOINT_ID, CONFIG_KEY_CHECKPOINT_NS)):
        return given
    return {**around, **given}


def _is_head(conf: Mapping[str, Any], snapshot: Any) -> bool:
    head = snapshot.config.get(CONF, {}).get(CONFIG_KEY_CHECKPOINT_ID)
    return all(named == head for named in _named_checkpoints(conf))


def _named_checkpoints(conf: Mapping[str, Any]) -> list[Any]:
    """Every checkpoint a run may begin at by its config: LangGraph prefers the map to the id."""
    mapped = conf.get(CONFIG_KEY_CHECKPOINT_MAP)
    spaces = ("", conf.get(CONFIG_KEY_CHECKPOINT_NS)) if isinstance(mapped, Mapping) else ()
    return [one for one in (conf.get(CONFIG_KEY_CHECKPOINT_ID), *(mapped.get(ns) for ns in spaces)) if one]


def _addresses_checkpoint(graph: Pregel, config: RunnableConfig | None) -> bool:
    """Whether a run names a checkpoint, and somebody has to find out if that is a rewind."""
    conf = _conf(graph, config)
    if not _named_checkpoints(conf) or current_call() is not None:
        return False
    governance = governance_of(graph)
    return governance is not None and governance.enforcing and governance.doors == "closed"


def _at_head(graph: Pregel, config: RunnableConfig | None) -> RunnableConfig:
    """The same thread without a checkpoint named, which is its newest."""
    kept = {k: v for k, v in _conf(graph, config).items() if k != CONFIG_KEY_CHECKPOINT_MAP}
    # Set to None, not left out: the graph's own config would fill it in again.
    return {**(config or {}), CONF: {**kept, CONFIG_KEY_CHECKPOINT_ID: None}}  # type: ignore[typeddict-item]


def _patch_doors() -> None:
    """Seam 5: class-wide, so that copies of a governed graph (a server makes one per request) have it too."""
    stream, astream = Pregel.stream, Pregel.astream
    bulk, abulk = Pregel.bulk_update_state, Pregel.abulk_update_state

    def nested_stream(self: Pregel, parent: Call, given: Any, config: Any, kwargs: Any) -> Iterator[Any]:
        with _final(parent):
            yield from stream(self, given, config, **kwargs)

    async def nested_astream(self: Pregel, parent: Call, given: Any, config: Any, kwargs: Any) -> AsyncIterator[Any]:
        with _final(parent):
            async for piece in astream(self, given, config, **kwargs):
                yield piece

    @like(stream)
    def governed_stream(self: Pregel, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        parent = current_call()
        if parent is not None:
            _enter_nested(self, input, config, parent)
            if parent.governance.enforcing:
                return nested_stream(self, parent, input, config, kwargs)
            return stream(self, input, config, **kwargs)
        rewinds = _addresses_checkpoint(self, config) and not (
            self.checkpointer and _is_head(_conf(self, config), self.get_state(_at_head(self, config)))
        )
        return stream(self, _enter(self, input, config, rewinds=rewinds), config, **kwargs)

    async def at_checkpoint(self: Pregel, input: Any, config: RunnableConfig | None, kwargs: Any) -> AsyncIterator[Any]:
        rewinds = not (
            self.checkpointer and _is_head(_conf(self, config), await self.aget_state(_at_head(self, config)))
        )
        async for piece in astream(self, _enter(self, input, config, rewinds=rewinds), config, **kwargs):
            yield piece

    @like(astream)
    def governed_astream(self: Pregel, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        parent = current_call()
        if parent is not None:
            _enter_nested(self, input, config, parent)
            if parent.governance.enforcing:
                return nested_astream(self, parent, input, config, kwargs)
            return astream(self, input, config, **kwargs)
        if _addresses_checkpoint(self, config):
            return at_checkpoint(self, input, config, kwargs)
        return astream(self, _enter(self, input, config, rewinds=False), config, **kwargs)

    @like(bulk)
    def governed_bulk(self: Pregel, config: RunnableConfig, supersteps: Any) -> Any:
        _enter_update(self, config, supersteps)
        return bulk(self, config, supersteps)

    @like(abulk)
    async def governed_abulk(self: Pregel, config: RunnableConfig, supersteps: Any) -> Any:
        _enter_update(self, config, supersteps)
        return await abulk(self, config, supersteps)

    _patch_readers()
    Pregel.stream, Pregel.astream = governed_stream, governed_astream  # type: ignore[method-assign,assignment]
    Pregel.bulk_update_state, Pregel.abulk_update_state = governed_bulk, governed_abulk  # type: ignore[method-assign]


def _patch_readers() -> None:
    """A node sees of its own session what its contract lets it read, not what the checkpointer holds."""

    def guarded(name: str) -> Any:
        original = getattr(Pregel, name)

        @like(original)
        def read(self: Pregel, config: RunnableConfig, *args: Any, **kwargs: Any) -> Any:
            call = current_call()
            if call is not None and call.node.bound.enforced and call.contract.reads is not None:
                thread = (config.get(CONF) or {}).get(CONFIG_KEY_THREAD_ID)
                if thread is None or str(thread) == call.session.id:
                    raise call.node.refuse(
                        ContractViolation(f"{call.node.place} read the whole state of its session by {name}")
                    )
            return original(self, config, *args, **kwargs)

        return read

    for name in ("get_state", "aget_state", "get_state_history", "aget_state_history"):
        setattr(Pregel, name, guarded(name))


def _enter_update(graph: Pregel, config: RunnableConfig, supersteps: Any) -> None:
    parent, governance = current_call(), governance_of(graph)
    if parent is not None and (governance is None or not governance.enforcing):
        governance = parent.governance
    if governance is None:
        return
    updates = [update for step in supersteps for update in step]
    facts = {
        "as_node": [u.as_node for u in updates],
        "keys": [
            sorted(map(str, u.values or {})) if isinstance(u.values, Mapping) else type(u.values).__name__
            for u in updates
        ],
    }
    session = str(_conf(graph, config).get(CONFIG_KEY_THREAD_ID) or "")
    doors.check_update(governance, session, "update_state", facts)


_installed = False


def install() -> None:
    """Patch what the seams need, once a process and only after `probe` found all of it."""
    global _installed
    with _lock:
        if _installed:
            return
        probe()
        _patch_doors()
        patches.install()
        threads.install()
        connections.install()
        _installed = True


def probe() -> None:
    """Raise `UnsupportedVersion` naming what is missing in the LangGraph and LangChain that are installed."""
    wanted: list[tuple[Any, Sequence[str]]] = [
        (RunnableSeq, ("invoke", "ainvoke", "stream", "astream")),
        (PregelNode, ("node", "flat_writers", "copy")),
        (Pregel, ("stream", "astream", "bulk_update_state", "abulk_update_state", "copy", "get_subgraphs")),
        (ChannelWriteTupleEntry, ("mapper", "value")),
        (RetryPolicy, ("_replace", "retry_on")),
        *patches.WANTED,
    ]
    missing = [f"{owner.__name__}.{name}" for owner, names in wanted for name in names if not hasattr(owner, name)]
    if not isinstance(inspect.getattr_static(PregelNode, "node", None), functools.cached_property):
        missing.append("PregelNode.node as a cached property")
    if missing:
        raise UnsupportedVersion(
            f"langgraph {version('langgraph')} and langchain-core {version('langchain-core')} lack "
            f"{', '.join(missing)}; Sidecar knows langgraph>=1.2.22,<1.3: install one of these"
        )
