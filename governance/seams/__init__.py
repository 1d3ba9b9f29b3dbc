"""The only place that touches LangGraph and LangChain internals. Six seams, inert outside a governed call.

1. node step: the compiled node's run sequence is replaced; its `.bound` is left alone
2. tasks: every `@task` that a governed call schedules runs inside a chain of its own
3. sends: what a node finally writes and where it sends control, after LangGraph normalised it; and the
   reducers that put it into the state (`reducers`)
4. models and tools: `BaseTool.run` and the models' generate and stream methods (`tools`, `models`)
   Where in the session a call is, forks or not (`lineage`); whether what it began from is stored (`saving`)
5. doors: `stream`, `update_state` and `Command` input on compiled graphs, copies included
6. raw connections: a Python audit hook (`governance.connections`)

`install` patches once a process, after `probe` has found everything where LangGraph 1.2 has it.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from langgraph._internal._runnable import RunnableSeq
from langgraph.pregel import Pregel
from langgraph.pregel._read import PregelNode
from langgraph.pregel._write import ChannelWrite, ChannelWriteTupleEntry
from langgraph.types import RetryPolicy

from governance import connections, tasks, threads
from governance.errors import UnsupportedVersion
from governance.seams import edges, last_attempt, lineage, models, reducers, runs, saving, tools
from governance.seams.graphs import attach, governance_of, step_of
from governance.seams.identity import place, resumable, state
from governance.seams.report import coverage, resume_answer, server_user
from governance.seams.saving import wait_saved

_lock = threading.Lock()
_installed = False


def install() -> None:
    """Patch what the seams need, once a process and only after `probe` found all of it."""
    global _installed
    with _lock:
        if _installed:
            return
        probe()
        lineage.install()  # beneath the doors: what they refuse changes nothing
        runs.install()
        reducers.install()
        edges.install()
        saving.install()
        tools.install()
        models.install()
        threads.install()
        tasks.install()
        connections.install()
        _installed = True


def probe() -> None:
    """Raise `UnsupportedVersion` naming what is missing in the LangGraph and LangChain that are installed."""
    wanted: list[tuple[Any, Sequence[str]]] = [
        (RunnableSeq, ("invoke", "ainvoke", "stream", "astream")),
        (ChannelWrite, ("_write",)),
        (PregelNode, ("node", "flat_writers", "copy")),
        (Pregel, ("stream", "astream", "bulk_update_state", "abulk_update_state", "copy", "get_subgraphs")),
        (ChannelWriteTupleEntry, ("mapper", "value")),
        (RetryPolicy, ("_replace", "retry_on")),
        *tools.WANTED,
        *models.WANTED,
        *reducers.WANTED,
        *edges.WANTED,
        *saving.WANTED,
        *lineage.WANTED,
        *last_attempt.WANTED,
    ]
    missing = [f"{owner.__name__}.{name}" for owner, names in wanted for name in names if not hasattr(owner, name)]
    if not isinstance(inspect.getattr_static(PregelNode, "node", None), functools.cached_property):
        missing.append("PregelNode.node as a cached property")
    if missing:
        raise UnsupportedVersion(
            f"langgraph {version('langgraph')} and langchain-core {version('langchain-core')} lack "
            f"{', '.join(missing)}; Sidecar knows langgraph>=1.2.22,<1.3: install one of these"
        )


__all__ = [
    "attach",
    "coverage",
    "governance_of",
    "install",
    "place",
    "probe",
    "resumable",
    "resume_answer",
    "server_user",
    "state",
    "step_of",
    "wait_saved",
]
