"""A few bytes of shared memory that say that something was changed, to every process on this machine.

Looking costs no system call, so it may be done on an event loop, at every call. Only a hint: who changes
something and dies before it rings is found out by those who look at the thing itself now and then.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
from pathlib import Path

RUNG = 16
SIZE = RUNG + 8
MOMENT = struct.Struct("d")


class Bell:
    """One bell, in a file of its own: SQLite's files must not be opened beside SQLite, whose locks end with it."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` where the file cannot be made or written."""
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if os.fstat(file).st_size < SIZE:
                os.ftruncate(file, SIZE)
            self._shared = mmap.mmap(file, SIZE)
        finally:
            os.close(file)

    def heard(self) -> bytes:
        """What stands there since the last ring; another value means that somebody has rung."""
        return self._shared[:RUNG]

    def ring(self) -> None:
        """Tell everybody, this process too; after the change, so that whoever hears it finds it."""
        self._shared[:RUNG] = secrets.token_bytes(RUNG)

    def announce(self, until: float) -> None:
        """Say that a change is on its way that nobody should miss, and that it is there by then or given up.

        By the clock of `time.monotonic`, which all processes of a machine share. It rings.
        """
        self._shared[RUNG:SIZE] = MOMENT.pack(until)
        self.ring()

    def announced(self) -> float:
        """Until when a change is on its way; a moment of the past where none is."""
        return float(MOMENT.unpack(self._shared[RUNG:SIZE])[0])

    def arrived(self, until: float) -> None:
        """The change is there, or given up; another one that was announced since is still on its way."""
        if self.announced() == until:
            self._shared[RUNG:SIZE] = MOMENT.pack(0.0)
