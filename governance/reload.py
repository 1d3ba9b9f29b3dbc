"""Policy files that change while graphs run: looked at now and then, and put in force as a whole or not at all.

A call keeps the rules it began with; the next one has the new ones. What is set in Python does not change.
"""

from __future__ import annotations

import os
import time
import warnings
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from governance.errors import PolicyError
from governance.plane.ledger_rows import OPERATOR
from governance.policy import Policy
from governance.policy_file import parsed
from governance.policy_settings import changes, described

if TYPE_CHECKING:
    from governance.plane.control import Control
    from governance.plane.ledger import Ledger
    from governance.sidecar import Governance

REDACT = "ledger.redact"
SETTLED = 0.25
"""Seconds since the last write after which a file is taken to be whole; a younger one is looked at again."""


class InForce:
    """Which Governance of a graph counts; a changed policy file makes another one."""

    __slots__ = ("__weakref__", "now")

    def __init__(self, now: Governance) -> None:
        self.now = now


class Stamp(NamedTuple):
    """What tells that a file was written to."""

    changed: int
    size: int
    inode: int


NEVER = Stamp(-1, -1, -1)


class PolicyFile:
    """One file, the graphs that go by it, and what was made of it last."""

    def __init__(self, path: Path, stamp: Stamp | None) -> None:
        self.path = path
        self.graphs: weakref.WeakSet[InForce] = weakref.WeakSet()
        self.judged = stamp
        """The version that is in force, or was rejected."""
        self.seen = stamp
        self.rejected: str | None = None

    def whole(self) -> bool:
        """Whether there is a version that nobody has judged yet and nobody still writes."""
        stamp, before = stamp_of(self.path), self.seen
        self.seen = stamp
        if stamp == self.judged:
            return False
        return stamp == before or (stamp is not None and time.time() - stamp.changed / 1e9 > SETTLED)


class PolicyFiles:
    """The policy files of the graphs of one Sidecar; but for `follow`, all of it is one thread's business."""

    def __init__(self, control: Control, ledger: Ledger) -> None:
        self._ledger = ledger
        self._files: dict[Path, PolicyFile] = {}
        self._coming: deque[tuple[Path, InForce, Stamp | None]] = deque()
        control.chores.append(self._look)

    def follow(self, path: Path, governance: Governance, stamp: Stamp | None) -> None:
        """Have a graph go by a file from here on; `stamp` is of before its policy was read."""
        self._coming.append((path, governance.in_force, stamp))

    def _look(self, _: Any) -> None:
        while self._coming:
            self._add(*self._coming[0])
            self._coming.popleft()
        for path, file in list(self._files.items()):
            if not file.graphs:
                del self._files[path]
            elif file.whole():
                self._take(file)

    def _add(self, path: Path, graph: InForce, stamp: Stamp | None) -> None:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = PolicyFile(path, stamp)
        elif stamp != file.judged:
            file.judged = NEVER  # it was read in between: whoever has the older version gets the newer
        file.graphs.add(graph)

    def _take(self, file: PolicyFile) -> None:
        stamp = file.seen
        try:
            policy = _read(file.path)
            for graph in list(file.graphs):
                _check(file.path, graph.now.policy, policy)
        except PolicyError as error:
            self._reject(file, error.reason)
        else:
            self._put_in_force(file, policy)
        file.judged = stamp  # last: a child that is forked meanwhile does it again

    def _put_in_force(self, file: PolicyFile, policy: Policy) -> None:
        file.rejected = None
        before: dict[Policy, list[str]] = {}
        for graph in list(file.graphs):
            old = graph.now
            if old.policy != policy:
                graph.now = old.under(policy)
                before.setdefault(old.policy, []).append(old.graph)
        for old_policy, graphs in before.items():
            body = {
                "file": str(file.path), "before": old_policy.digest, "after": policy.digest,
                "changes": described(changes(old_policy, policy)), "graphs": sorted(graphs),
            }  # fmt: skip
            self._ledger.record(OPERATOR, "policy.changed", actor="policy", body=body)

    def _reject(self, file: PolicyFile, reason: str) -> None:
        """The old policy stays in force; each reason is said once."""
        if reason == file.rejected:
            return
        file.rejected = reason
        digests = sorted({graph.now.policy.digest for graph in file.graphs})
        body = {"file": str(file.path), "in_force": digests, "reason": reason}
        self._ledger.record(OPERATOR, "policy.rejected", actor="policy", body=body)
        with suppress(Warning):  # where warnings are errors, this thread must live on
            warnings.warn(f"Sidecar keeps the policy it has: {reason}", RuntimeWarning, stacklevel=2)


def stamp_of(path: Path) -> Stamp | None:
    """None where there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def _read(path: Path) -> Policy:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PolicyError(f"policy file {path} is gone; put it back") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy file {path} cannot be read: {error}") from error
    if not text.strip():
        raise PolicyError(f"policy file {path} is empty; where nothing is to be set, say so in a comment")
    return parsed(text, path)


def _check(path: Path, before: Policy, after: Policy) -> None:
    """Raise where a running process cannot follow: then nothing of the change is in force."""
    old, new = before.ledger, after.ledger
    if replace(old, redact=()) != replace(new, redact=()):
        held = [change.key for change in changes(Policy(ledger=old), Policy(ledger=new)) if change.key != REDACT]
        raise PolicyError(
            f"{path}: {', '.join(held) or 'ledger.path'} cannot change while a process runs; restart it, or take the "
            "change back: until then nothing that is new in this file is in force"
        )
    gone = [rule for rule in old.redact if rule not in new.redact]
    if gone:
        raise PolicyError(
            f"{path}: {REDACT} lost {', '.join(map(repr, gone))}; a process that runs can take up rules of "
            "redaction but not let go of them: restart it, or put them back"
        )
