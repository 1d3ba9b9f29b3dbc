"""One writer a file: SQLite would let two in, and Chroma damages its index when they come."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from memory.errors import StoreLocked


class WriterLock:
    """Held for as long as a store is open; a second opener learns at once who holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Whichever thread closes the store gives the lock back.
        self._lock = FileLock(f"{path}.lock", thread_local=False)
        self._holder = Path(f"{path}.holder")

    def acquire(self, *, patience: float = 0) -> None:
        """Take it, within so many seconds."""
        try:
            self._lock.acquire(timeout=patience, poll_interval=0.02)
        except Timeout:
            raise self._refusal() from None
        facts = {"pid": os.getpid(), "program": Path(sys.argv[0] or "python").name, "since": time.time()}
        self._holder.write_text(json.dumps(facts), encoding="utf-8")

    def release(self) -> None:
        # Only the holder may remove what names it; after the release that could be somebody else.
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def _refusal(self) -> StoreLocked:
        try:
            facts = json.loads(self._holder.read_text(encoding="utf-8"))
            pid, program = int(facts["pid"]), str(facts["program"])
        except (OSError, ValueError, KeyError):  # it is just being taken, or was left by a crash in between
            return StoreLocked(f"{self._path} is being written by another process; a file has one writer at a time")
        holder = "this process" if pid == os.getpid() else f"process {pid} ({program})"
        return StoreLocked(
            f"{self._path} is being written by {holder}; close the store there first, or use that one", pid=pid
        )
