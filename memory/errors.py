"""Everything the store raises, as one tree.

* StoreError
  x StoreLocked           another process, or another object of this one, writes to this file
  x StoreClosed           it was closed
  x StoreMismatch         the file was written with another schema, or holds vectors of another model
  x EmbeddingUnavailable  the model that was asked for is not on this machine
  x Erased                this scope was erased, and takes no more writes
  x UnknownOperator       a filter uses an operator that nobody knows; also a `ValueError`
"""

from __future__ import annotations


class StoreError(RuntimeError):
    """Something the store refuses or cannot do; nothing of the call was written."""


class StoreLocked(StoreError):
    """Another holder writes to this file; `pid` says which process, where that is known."""

    def __init__(self, message: str, *, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class StoreClosed(StoreError):
    """The store was closed; open a new one."""


class StoreMismatch(StoreError):
    """The file and the program that opens it do not fit."""


class EmbeddingUnavailable(StoreError):
    """The embedding model is not on this machine; the message says how to get it."""


class Erased(StoreError):
    """A write came late: its scope was erased, and stays empty until somebody calls `readmit`."""


class UnknownOperator(StoreError, ValueError):
    """A filter holds an operator that is none, so any answer would be a guess."""
