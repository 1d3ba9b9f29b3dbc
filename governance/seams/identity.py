"""Where an execution is: session and structural path, the same after a resume, a retry and a crash."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_READ,
    CONFIG_KEY_THREAD_ID,
    NS_SEP,
    PULL,
)

from governance.boundary import EXECUTIONS
from governance.call import Call, NodeCall

if TYPE_CHECKING:
    pass


RUN: contextvars.ContextVar[int] = contextvars.ContextVar("sidecar_run", default=0)
"""Ordinal of a nested run within the execution of a node, in the order in which they are started."""


AHEAD = "__sidecar_steps_ahead"
"""In the config of tasks: how many steps of their thread lie behind them in which no node ran."""

_lock = threading.Lock()


def prefix(parent: Call | None, conf: Mapping[str, Any]) -> str:
    """The path down to a nested run; its ordinal tells apart the runs that one node starts."""
    if parent is None:
        return ""
    own = conf.get(CONFIG_KEY_CHECKPOINT_NS) or ""
    above = parent.node.config.get(CONF, {}).get(CONFIG_KEY_CHECKPOINT_NS) or ""
    if above and own.startswith(above + NS_SEP):
        # Not LangGraph's number: it goes on counting when it retries the parent, and what it answers from a
        # checkpoint it does not count.
        return f"{parent.path}/{RUN.get()}:"
    return f"{parent.path}/r{RUN.get()}:"


def own_step(metadata: Mapping[str, Any], conf: Mapping[str, Any]) -> int:
    """The step a node runs in, as if nobody had ever forked its thread or changed its state."""
    step: int = metadata.get("langgraph_step", 0)
    return step - conf[AHEAD] if AHEAD in conf else step


def branch(path: Sequence[Any]) -> str:
    """Which of several `Send`s of one superstep an execution belongs to."""
    return "" if path[0] == PULL else f".s{path[1]}"


def _root(call: Call) -> NodeCall:
    root = call.node
    while root.parent is not None:
        root = root.parent.node
    return root


def resumable(call: Call) -> bool:
    """Whether what runs here is stored as it goes, so that it can be run on after a crash or a question."""
    return bool(_root(call).config.get(CONF, {}).get(CONFIG_KEY_CHECKPOINTER))


def place(call: Call) -> str:
    """The call's path, and what that is a path in: the same only where the same call is made again.

    That is a graph, by its name; a graph above it that nobody governs, by the tasks it runs in; and,
    without a checkpointer, one run alone, as nothing can resume it.
    """
    root = _root(call)
    conf = root.config.get(CONF, {})
    tasks = str(conf.get(CONFIG_KEY_CHECKPOINT_NS) or "")
    if conf.get(CONFIG_KEY_CHECKPOINTER):
        tasks = tasks.rpartition(NS_SEP)[0]
    return "/".join(part for part in (root.governance.graph, tasks, call.path) if part)


def state(call: NodeCall, key: str) -> dict[str, Any]:
    """What the graph's state has in a key, at the beginning of this step; empty where it has no such key."""
    read = call.config.get(CONF, {}).get(CONFIG_KEY_READ)
    try:
        return {} if read is None else {key: read([key]).get(key)}
    except KeyError:
        return {}


def session_of(conf: Mapping[str, Any], runtime: Any) -> str:
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
            known = _runs[id(control)] = (control, f"run-{time.time_ns():016x}-{EXECUTIONS.next()}")
    return known[1]


_runs: dict[int, tuple[Any, str]] = {}


RUNS_KEPT = 4096
