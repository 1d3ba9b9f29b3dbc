"""Runs a recorded session again: each of its runs, one after the other, on checkpoints in memory."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from governance import seams
from governance.errors import ReplayDiverged
from governance.operators import operator
from governance.plane.redaction import Redaction
from governance.replay.alike import Likeness, Pairs
from governance.replay.divergence import Replayed
from governance.replay.findings import Findings
from governance.replay.governed import Replaying, replaying, rules_of
from governance.replay.moments import Window
from governance.replay.offline import offline
from governance.replay.persons import decide_again, decisions
from governance.replay.recording import Recording, Row
from governance.replay.transcript import Changed, Run, Step, transcript
from governance.replay.watch import Watch
from governance.replay.whole import check_whole
from governance.seams.twins import twin


def replay(graph: Any, recording: Recording, *, redact: Sequence[str] = ()) -> Replayed:
    """Run a session again; models, tools and people say what they said.

    The graph is the governed one that was recorded, as its code is now; one that nobody governs is observed. Neither
    it nor the record is changed. `redact` adds to the rules of the graph's own policy. Raises `RecordIncomplete`
    where the record does not hold what this needs.
    """
    steps = transcript(recording)
    check_whole(recording, steps)
    seams.install()
    rules = rules_of(seams.governance_of(graph))
    watch = _watch(recording, [*rules.policy.ledger.redact, *redact])
    with replaying(rules, watch) as governance, offline():
        session = _Session(graph, governance, watch)
        for step in steps:
            session.repeat(step)
            if watch.findings.first is not None:
                break
    runs = sum(isinstance(step, Run) for step in steps)
    return Replayed(recording.session, runs, watch.nodes.count, watch.calls.count, watch.findings.first)


def _watch(recording: Recording, redact: Sequence[str]) -> Watch:
    begin, end = recording.rows[0].ts / 1e9, recording.rows[-1].ts / 1e9
    windows = Window(begin, lambda: end), Window(time.time(), time.time)
    return Watch(Findings(recording, Likeness(Pairs(), *windows), Redaction().also(redact)))


class _Session:
    """The thread of a replay, with its checkpoints."""

    def __init__(self, graph: Any, governance: Replaying, watch: Watch) -> None:
        self.graph = graph
        self.governance = governance
        self.watch = watch
        self.findings = watch.findings
        self.id = watch.findings.recording.session
        self.decided = list(decisions(self.findings.recording.rows))
        self.saver = InMemorySaver()
        self.store = InMemoryStore() if graph.store is not None else None

    def repeat(self, step: Step) -> None:
        graph, config = self._twin(step.begun), self._config(step.begun)
        if isinstance(step, Changed):
            self._change(graph, config, step.begun)
            return
        self.watch.begin(step)
        try:
            decide_again(step, self.decided, self.governance, self.findings)
            self._run(graph, self._given(step), config, step.begun)
        except ReplayDiverged:
            pass  # it is noted
        except Exception as error:
            self.watch.broke(step, error)
        self.watch.over(step)

    def _twin(self, begun: Row) -> Any:
        saved = begun.body.get("saved", True)
        cache: InMemoryCache[Any] | None = InMemoryCache() if self.graph.cache is not None else None
        changes = {"checkpointer": self.saver if saved else None, "store": self.store, "cache": cache}
        return twin(self.graph, self.governance, **changes)

    def _config(self, begun: Row) -> dict[str, Any]:
        configured = self.findings.value(begun, "configured") if "configured" in begun.body else {}
        configured |= dict.fromkeys(begun.body.get("withheld", ()), WITHHELD)
        if not self.id.startswith("run-"):
            configured = {**configured, "thread_id": self.id}
        return {"configurable": configured, "recursion_limit": begun.body.get("limit", 10_000)}

    def _given(self, run: Run) -> Any:
        pairs = self.findings.likeness.pairs
        if run.how == "input":
            return pairs.forward(self.findings.value(run.begun, "input"))
        if run.how == "on":
            return None
        named = {
            name: pairs.forward(self.findings.value(run.begun, name)) for name in COMMANDED if name in run.begun.body
        }
        return Command(**{**named, "resume": _as_given(named.get("resume"))})

    def _run(self, graph: Any, given: Any, config: Mapping[str, Any], begun: Row) -> None:
        options: dict[str, Any] = {}
        for name in ("before", "after"):
            stops = begun.body.get(name)
            if stops:
                options[f"interrupt_{name}"] = "*" if "*" in stops else list(stops)
        if "context" in begun.body:
            options["context"] = self.findings.value(begun, "context")
        with operator("replay", reason="as recorded"):
            if begun.body.get("async", True):
                _awaited(lambda: graph.ainvoke(given, config, **options))
            else:
                graph.invoke(given, config, **options)

    def _change(self, graph: Any, config: Any, row: Row) -> None:
        try:
            with operator("replay", reason="as recorded"):
                for step in self.findings.value(row, "updates"):
                    for values, as_node in step:
                        graph.update_state(config, self.findings.likeness.pairs.forward(values), as_node=as_node)
        except Exception as error:
            reason = f"the state could be changed in the record, and not now: {type(error).__name__}: {error}"
            self.findings.diverge("", "outcome", row, reason)


def _as_given(resume: Any) -> Any:
    """An answer to a card as a person gives it; on record it stands as the door bound it to its card."""
    if isinstance(resume, dict) and len(resume) == 1:
        [(card, answer)] = resume.items()
        if isinstance(answer, dict) and answer.get("card") == card and "decision" in answer:
            return answer
    return resume


def _awaited(work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run async code, also where a loop runs already, as in an async test."""
    if asyncio._get_running_loop() is None:
        asyncio.run(work())
        return
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, "sidecar-replay") as thread:
        thread.submit(context.run, lambda: asyncio.run(work())).result()


WITHHELD = "none"
"""In place of keys and passwords, which are on no record: nothing that would check them is reached."""
COMMANDED = ("resume", "update", "goto")
