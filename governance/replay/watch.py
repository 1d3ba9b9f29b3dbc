"""All that watches one replay: its nodes, its models and tools, and its runs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from governance.call import NodeCall
from governance.errors import ReplayDiverged
from governance.replay.alike import Difference
from governance.replay.calls import Calls
from governance.replay.findings import Findings
from governance.replay.nodes import Nodes
from governance.replay.recording import Row
from governance.replay.transcript import Run
from governance.runs import Rested


class Watch:
    """What a replay reports to."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.nodes = Nodes(findings)
        self.calls = Calls(findings, self.nodes)
        self._state: Difference | None = None
        """Told only where nothing is missing before the end."""

    def begin(self, run: Run) -> None:
        self.findings.run = run
        self._state = None

    def rested(self, governance: Any, session: str, rested: Rested) -> None:
        """Hears where a run came to rest: where it ended well, its state is the one of the record."""
        row = self.findings.run.rested
        if row is None or "state" not in row.body or rested.state is None or rested.end != row.body["end"]:
            return
        recorded, came = self.findings.recording.tree(row, "state"), self.findings.tree(rested.state)
        self._state = self.findings.likeness.difference(recorded, came)

    def broke(self, run: Run, error: Exception) -> None:
        """A run failed; that is no news where it failed in the record."""
        if self.findings.first is None and run.end not in ("failed", None):
            reason = f"the run failed, and did not in the record: {type(error).__name__}: {error}"
            self.findings.diverge("", "outcome", run.rested, reason)

    def over(self, run: Run) -> None:
        """A run has ended: has everything come that the record has, and is its state the same?"""
        if self.findings.first is not None:
            return
        with suppress(ReplayDiverged):
            self.nodes.check_met(run.places)
        if self.findings.first is None and self._state is not None and run.rested is not None:
            path = _writer(run, self._state.where)
            self.findings.diverge(
                path, "state", run.rested, "the state came out of its reducers otherwise", self._state
            )

    def connected(self, call: NodeCall, what: str) -> ReplayDiverged:
        """Code of a node opened a connection or a process."""
        repeated = self.nodes.of(call)
        row = repeated.recorded.begun if repeated is not None else None
        reason = f"it reached outside past models and tools: {what}"
        return self.findings.diverge(call.path, "connection", row, reason)


def _writer(run: Run, where: str) -> str:
    """The last execution that wrote the key in which two states differ: its write was the last to be reduced."""
    key = where.partition(".")[0].partition("[")[0]
    wrote: list[Row] = [
        one.ended
        for those in run.places.values()
        for one in those
        if one.ended is not None and isinstance(keys := one.ended.body.get("wrote"), list) and key in keys
    ]
    return max(wrote, key=lambda row: row.n).path if wrote else ""
