"""Watches nodes: each execution of a replay repeats one of the record, with its input and its update."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from governance.call import After, NodeCall
from governance.errors import CutOff
from governance.filters.record_payloads import seen
from governance.replay.findings import Findings, number_of, step_of
from governance.replay.outcomes import check_ended, check_failed
from governance.replay.substitute import FROM_OUTSIDE, given_again
from governance.replay.transcript import Call, Execution, Places


@dataclass(slots=True)
class Repeated:
    """An execution of the replay: which one of the record it repeats, and what it has called so far."""

    recorded: Execution
    taken: set[Call] = field(default_factory=set)
    made: set[Call] = field(default_factory=set)
    """Those that have begun; one that is taken may have to wait for others."""

    def left(self) -> list[Call]:
        return [one for one in self.recorded.calls if one not in self.taken]


class Nodes:
    """The outermost filter of every node."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.count = 0
        self._repeated: dict[str, Repeated] = {}
        self._met: set[Execution] = set()
        self._steps: dict[int, deque[Execution]] = {}
        """What has yet to come in a graph, by its steps: the executions at a set of places."""

    def __call__(self, call: NodeCall) -> After:
        """Holds what a node is given, and then what it returns, against the record."""
        findings = self.findings
        findings.check_over()
        recorded = self._execution(call)
        with findings.lock:
            self.count += 1
            self._repeated[call.execution] = Repeated(recorded)
        findings.compare(call.path, "input", recorded.begun, "input", seen(call), "the node was given another input")
        if _never_ran(recorded):
            assert recorded.ended is not None
            raise call.refuse(given_again(recorded.ended))
        return NodeEnds(self, recorded)

    def of(self, call: NodeCall) -> Repeated | None:
        return self._repeated.get(call.execution)

    def ran_again(self, call: NodeCall) -> bool:
        """Whether the record has another execution of a node after this one."""
        _, places = self._around(call)
        with self.findings.lock:
            return any(one not in self._met for one in places.get(call.path, ()))

    def _around(self, call: NodeCall) -> tuple[Repeated | None, Places]:
        above = self.of(call.parent.node) if call.parent is not None else None
        return above, self.findings.run.places if above is None else above.recorded.children

    def _execution(self, call: NodeCall) -> Execution:
        """The execution on record that this one repeats: the next one at this path, in the one it runs in."""
        above, places = self._around(call)
        self._check_step(places, call.path)
        with self.findings.lock:
            found = next((one for one in places.get(call.path, ()) if one not in self._met), None)
            if found is not None:
                self._met.add(found)
                return found
        if self.findings.may_differ(call.path):
            raise CutOff(f"the record of {call.path} was cut off")
        if above is not None and above.recorded.cut:
            reason = "the node ran; whether it did in the record, nobody knows: a kill took its last rows"
            raise self.findings.diverge(call.path, "incomplete", above.recorded.begun, reason)
        gone = next((one for one in self._unmet(places) if step_of(one.path) == step_of(call.path)), None)
        instead = f"; the record has {gone.path} there" if gone is not None else ""
        reason = f"the node ran, and did not in the record{instead}"
        raise self.findings.diverge(call.path, "unrecorded", gone.begun if gone is not None else None, reason)

    def _check_step(self, places: Places, path: str) -> None:
        """Raise where a step of the graph begins, and the record has executions in those before that never came."""
        with self.findings.lock:
            coming = self._steps.get(id(places))
            if coming is None:
                those = (one for each in places.values() for one in each if not one.cut)
                coming = self._steps[id(places)] = deque(sorted(those, key=lambda one: number_of(one.path)))
            while coming and number_of(coming[0].path) < number_of(path):
                one = coming.popleft()
                if one not in self._met and not self.findings.may_differ(one.path):
                    raise self._missing(one)

    def _missing(self, one: Execution) -> Exception:
        reason = "the node ran in the record, and did not now"
        return self.findings.diverge(one.path, "missing", one.begun, reason)

    def _unmet(self, places: Places) -> list[Execution]:
        left = [one for those in places.values() for one in those if one not in self._met and not one.cut]
        return sorted(left, key=lambda one: one.begun.n)

    def check_met(self, places: Places, before: float = float("inf")) -> None:
        """Raise where the record has executions that never came."""
        for one in self._unmet(places):
            if one.begun.n < before and not self.findings.may_differ(one.path):
                raise self._missing(one)

    def check_made(self, call: NodeCall, recorded: Execution, before: int) -> None:
        """Raise where the record has calls, or executions within, that this execution has not made."""
        for one in self._repeated[call.execution].left():
            if one.row.n < before and one.row.word != "interrupted":
                reason = f"{one.row.actor} was called in the record, and not now"
                raise self.findings.diverge(one.row.path, "missing", one.row, reason)
        self.check_met(recorded.children, before)


@dataclass(frozen=True, slots=True)
class NodeEnds:
    """Hears how a node ended."""

    nodes: Nodes
    recorded: Execution

    def __call__(self, call: NodeCall, result: Any) -> Any:
        findings, row = self.nodes.findings, self.recorded.ended
        findings.check_over()
        if call.refusal is not None:  # the node's code may have swallowed it
            self.failed(call, call.refusal)
            raise call.refusal
        if row is None or self.recorded.cut:
            if findings.may_differ(call.path):
                raise CutOff(f"{call.path} did not come to its end in the record")
            return result  # the run went on from what it wrote, and only its last row was lost
        self.nodes.check_made(call, self.recorded, row.n)
        if row.body.get("code") in FROM_OUTSIDE:
            raise call.refuse(given_again(row))
        check_ended(findings, call.path, row)
        findings.compare(call.path, "update", row, "update", result, "the node returned another update")
        return result

    def failed(self, call: NodeCall, error: BaseException) -> None:
        findings, row = self.nodes.findings, self.recorded.ended
        if row is None or self.recorded.cut or findings.first is not None:
            return
        if isinstance(error, Exception) and not isinstance(error, CutOff):
            self.nodes.check_made(call, self.recorded, row.n)
        check_failed(findings, call.path, row, error)


def _never_ran(recorded: Execution) -> bool:
    """Whether it was refused at its very beginning, by a stop or for want of tokens."""
    code = recorded.ended.body.get("code") if recorded.ended is not None else None
    return code in FROM_OUTSIDE and code != "deadline" and not recorded.calls and not recorded.children
