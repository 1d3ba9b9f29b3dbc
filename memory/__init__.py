"""Tiered memory for LangGraph graphs, as a `BaseStore`."""

from memory.errors import (
    EmbeddingUnavailable,
    Erased,
    StoreClosed,
    StoreError,
    StoreLocked,
    StoreMismatch,
    UnknownOperator,
)
from memory.minilm import MiniLM
from memory.ranking import Weights
from memory.results import Recalled
from memory.store import TieredStore
from memory.ticks import AsyncTieredStore

__all__ = [
    "AsyncTieredStore",
    "EmbeddingUnavailable",
    "Erased",
    "MiniLM",
    "Recalled",
    "StoreClosed",
    "StoreError",
    "StoreLocked",
    "StoreMismatch",
    "TieredStore",
    "UnknownOperator",
    "Weights",
]
