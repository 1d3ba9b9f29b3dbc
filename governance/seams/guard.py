"""Seams 2 and 3: tasks that a node schedules, what it finally writes, and where it sends control."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CALL,
    CONFIG_KEY_READ,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    RESUME,
    TASKS,
)
from langgraph._internal._runnable import is_async_callable
from langgraph.constants import START
from langgraph.types import Send

from governance.bound import BRANCH, UNDECLARED
from governance.boundary import EXECUTIONS, arun_node, missing_contract, run_node
from governance.call import NodeCall
from governance.current import setting
from governance.errors import ContractViolation, DoorClosed
from governance.filters.contract import granted, write_problem
from governance.isolation import CHANNEL
from governance.projection import protected
from governance.seams.execution import entered, final
from governance.seams.held import holding, quiet, silent
from governance.seams.retries import shielded


def guarded_conf(conf: dict[str, Any], call: NodeCall) -> dict[str, Any]:
    guard, guarded = Guard(call, conf), conf.copy()
    if CONFIG_KEY_RESUME_MAP in conf and isinstance(conf[CONFIG_KEY_RESUME_MAP], dict):
        guarded[CONFIG_KEY_RESUME_MAP] = dict(conf[CONFIG_KEY_RESUME_MAP])
    guarded[CONFIG_KEY_CALL] = guard.schedule
    if call.bound.enforced and CONFIG_KEY_SEND in conf:
        guarded[CONFIG_KEY_SEND] = guard.send
        guarded[CONFIG_KEY_READ] = guard
    if CONFIG_KEY_CALL not in conf:
        del guarded[CONFIG_KEY_CALL]
    return guarded


class Guard:
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
        return None, dict.fromkeys(name for name in self.conf[CONFIG_KEY_READ].args[1] if name != CHANNEL)

    def __call__(self, select: str | Sequence[str], fresh: bool = False) -> Any:
        """The node's code reads what its contract names, as copies; its routers read all of the state."""
        call, read = self.call, self.conf[CONFIG_KEY_READ]
        if call.state != "running":
            return read(select, fresh)
        reads = call.contract.reads
        for key in (select,) if isinstance(select, str) else select:
            if key == CHANNEL and not call.contract.reads_failures:
                raise call.refuse(ContractViolation(f"{call.place} read failures; its contract lacks reads_failures"))
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
            options["retry_policy"] = shielded(options["retry_policy"])
        # Numbered here, in the order of the author's code: tasks may start in any order, and LangGraph's own
        # numbers go on counting when it retries the node.
        number = call.next_ordinal("@task")
        return self.conf[CONFIG_KEY_CALL](_governed_task(func, call, number), given, **options)


def _send_problem(key: str, value: Any, call: NodeCall) -> str | None:
    declared, contract, running = call.declared, call.contract, call.state == "running"
    if call.state == "over" or call.refusal is not None:
        return f"wrote {key!r} after its execution had ended"
    if key == CHANNEL:
        clears = value is None and call.name == START and not running  # a new input, which its entry says
        return None if clears else "wrote to the failures of its graph, which only Sidecar tells"
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
    if is_async_callable(func):

        @_named_like(func)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            call, config = _open_task(func, parent, number, args, kwargs)
            with final(parent), entered(call), setting(var_child_runnable_config, config):
                return await arun_node(call, lambda node: func(*args, **kwargs))

        return arun

    @_named_like(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        call, config = _open_task(func, parent, number, args, kwargs)
        with final(parent), entered(call), setting(var_child_runnable_config, config):
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
    governance = parent.governance.in_force.now
    bound = governance.bind(place, UNDECLARED)
    if bound is None:
        raise missing_contract(place, parent)
    info = getattr(conf.get(CONFIG_KEY_RUNTIME), "execution_info", None)
    path = f"{parent.path}/{name}.c{number}"
    call = NodeCall(
        name, path, EXECUTIONS.next(), governance, parent.session, bound.contract, parent, config,
        info.node_attempt if info is not None else 1, {"args": args, "kwargs": kwargs}, False, bound,
    )  # fmt: skip
    call.state, call.scheduled = "running", True
    guarded: Any = {**config, CONF: guarded_conf(conf, call)}
    return call, quiet(silent(guarded)) if holding(call) else guarded
