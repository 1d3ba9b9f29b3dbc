"""A few bytes of shared memory that say that something was changed, to every process on this machine.

Looking costs no system call, so it may be done on an event loop, at every call. Only a hint: who changes
something and dies before it rings is found out by those who look at the thing itself now and then.
"""

from __future__ import annotations

import mmap
import os
import secrets
from pathlib import Path

SIZE = 16


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
        return self._shared[:SIZE]

    def ring(self) -> None:
        """Tell everybody, this process too; after the change, so that whoever hears it finds it."""
        self._shared[:SIZE] = secrets.token_bytes(SIZE)
