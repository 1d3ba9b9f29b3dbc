"""Stores on a fresh file, a clock that tests turn, and an embedding model of one line."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings

from memory import TieredStore


class Bags(Embeddings):
    """A text is the bag of its words: each adds to one of 64 numbers."""

    model = "bags"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked += texts
        return [self._bag(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._bag(text)

    @staticmethod
    def _bag(text: str) -> list[float]:
        vector = [0.0] * 64
        for word in text.lower().split():
            vector[zlib.crc32(word.encode()) % 64] += 1.0
        return vector


class Clock:
    """A time that passes when a test says so."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def __call__(self) -> float:
        return self.at

    def pass_minutes(self, minutes: float) -> None:
        self.at += minutes * 60


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bags() -> Bags:
    return Bags()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def by_words(file: Path, clock: Clock) -> Iterator[TieredStore]:
    """A store without an embedding model."""
    with TieredStore(file, index={"fields": ["text"]}, clock=clock) as store:
        yield store


@pytest.fixture
def index(bags: Bags) -> Any:
    return {"embed": bags, "dims": 64, "fields": ["text"]}


@pytest.fixture
def store(file: Path, index: Any, clock: Clock) -> Iterator[TieredStore]:
    with TieredStore(file, index=index, clock=clock) as store:
        yield store
