"""Tiered memory for LangGraph graphs, as a `BaseStore`."""

from memory.erasure import ErasureReceipt
from memory.errors import (
    EmbeddingUnavailable,
    Erased,
    StoreClosed,
    StoreError,
    StoreLocked,
    StoreMismatch,
    UnknownOperator,
)
from memory.facts import Fact, Facts
from memory.lifecycle import Policy
from memory.minilm import MiniLM
from memory.ranking import Weights
from memory.results import Recalled
from memory.ticks import AsyncTieredStore
from memory.tiers import Memories, TieredStore

__all__ = [
    "AsyncTieredStore",
    "EmbeddingUnavailable",
    "Erased",
    "ErasureReceipt",
    "Fact",
    "Facts",
    "Memories",
    "MiniLM",
    "Policy",
    "Recalled",
    "StoreClosed",
    "StoreError",
    "StoreLocked",
    "StoreMismatch",
    "TieredStore",
    "UnknownOperator",
    "Weights",
]
