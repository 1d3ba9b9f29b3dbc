"""What workers got done, in a file that outlives them: each line is one write, which a kill cannot take back."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Told:
    """What the notes say so far."""

    ended: dict[str, dict[str, str]] = field(default_factory=dict)
    """The receipts a session believed in when it ended for the first time."""
    forked: dict[str, dict[str, str]] = field(default_factory=dict)
    """The same, after it ran again from an earlier checkpoint."""
    begun: set[str] = field(default_factory=set)
    parked: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Ledger rows that were acknowledged."""


class Notes:
    """A file that lines are appended to, each in one write: what was written survives the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def add(self, what: str, session: str, **more: Any) -> None:
        os.write(self._file, json.dumps({"what": what, "session": session, **more}).encode() + b"\n")


def read_notes(path: Path) -> Told:
    told = Told()
    for line in path.read_text().splitlines() if path.exists() else ():
        note = json.loads(line)
        what, session = note.pop("what"), note["session"]
        if what in ("ended", "forked"):
            getattr(told, what)[session] = note["receipts"]
        elif what == "begun":
            told.begun.add(session)
        elif what == "kept":
            told.kept.append(note["token"])
        else:
            getattr(told, what).append(note)
    return told
