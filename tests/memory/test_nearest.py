"""Large scopes: Chroma knows what SQLite knows, searches miss nothing meanwhile, and a lost index is made again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langgraph.store.base import PutOp

from memory import TieredStore

WORDS = ["tea", "rain", "boat", "lamp", "salt", "wolf", "moss", "iron", "corn", "silk"]


@pytest.fixture
def small(index: Any) -> dict[str, Any]:
    """A store where four vectors are many."""
    return {"index": index, "exact": 4}


@pytest.fixture
def large(file: Path, small: dict[str, Any]) -> Iterator[TieredStore]:
    with TieredStore(file, **small) as store:
        fill(store)
        yield store


def fill(store: TieredStore, many: int = 30) -> None:
    store.batch([PutOp(("a",), str(n), {"text": " ".join([*WORDS[n % 10 :], f"n{n}"])}) for n in range(many)])


def counts(store: TieredStore) -> tuple[int, int]:
    """Vectors in SQLite, and in Chroma once all is carried over."""
    chroma = store._chroma
    assert chroma is not None
    chroma.settle()
    with store._database.reading() as db:
        [(many,)] = db.execute("SELECT count(*) FROM vectors").fetchall()
        scopes = [scope for (scope,) in db.execute("SELECT id FROM scopes WHERE indexed")]
    return many, sum(chroma._collection(scope).count() for scope in scopes)


def test_a_scope_that_outgrows_comparing_is_carried_over_and_found_in_the_same_order(
    large: TieredStore, tmp_path: Path, index: Any
) -> None:
    with TieredStore(tmp_path / "exact.db", index=index) as exact:
        fill(exact)
        wanted = [one.key for one in exact.search(("a",), query="lamp salt wolf")]

    assert (30, 30) == counts(large)
    assert wanted == [one.key for one in large.search(("a",), query="lamp salt wolf")]


def test_what_chroma_has_not_been_told_is_found_all_the_same(large: TieredStore, monkeypatch: Any) -> None:
    counts(large)
    monkeypatch.setattr(large._chroma, "_carry", lambda: False)
    large.put(("a",), "new", {"text": "a violet umbrella"})
    assert large._chroma is not None and large._vectors is not None
    near = large._chroma(1, large._vectors.queries(["a violet umbrella"])["a violet umbrella"], 3)

    assert near is not None and 31 in near  # it was the 31st item
    assert "new" == large.search(("a",), query="violet umbrella")[0].key


def test_updates_and_deletions_reach_it(large: TieredStore) -> None:
    counts(large)
    large.put(("a",), "3", {"text": "quite another thing"})
    large.delete(("a",), "4")
    large.put(("a",), "5", {"text": "not indexed now"}, index=False)

    assert (28, 28) == counts(large)
    assert "3" == large.search(("a",), query="quite another thing")[0].key


def test_what_came_and_went_before_it_was_told_is_told_once(large: TieredStore, monkeypatch: Any) -> None:
    counts(large)
    with monkeypatch.context() as held:
        held.setattr(large._chroma, "_carry", lambda: False)
        for word in WORDS:
            large.put(("a",), "restless", {"text": f"now {word}"})
        large.delete(("a",), "restless")

    assert (30, 30) == counts(large)


def test_a_write_that_was_not_carried_over_is_when_the_store_opens_again(
    file: Path, small: dict[str, Any], monkeypatch: Any
) -> None:
    with TieredStore(file, **small) as store:
        fill(store)
        counts(store)
        monkeypatch.setattr(store._chroma, "_carry", lambda: False)
        store.put(("a",), "late", {"text": "late words"})
        store.delete(("a",), "1")
    with TieredStore(file, **small) as again:
        assert (30, 30) == counts(again)


def test_a_lost_folder_is_made_again(file: Path, small: dict[str, Any]) -> None:
    with TieredStore(file, **small) as store:
        fill(store)
        counts(store)
    shutil.rmtree(f"{file}.chroma")
    with TieredStore(file, **small) as again:
        assert again._chroma is not None
        again._chroma.rebuild(list(again._chroma.differences()))

        assert (30, 30) == counts(again)


def test_a_filter_that_few_pass_finds_those_few(file: Path, small: dict[str, Any], monkeypatch: Any) -> None:
    """Candidates are the nearest of all; none of them may pass."""
    monkeypatch.setattr("memory.index._CANDIDATES", 3)
    with TieredStore(file, **small) as store:
        fill(store)
        store.put(("a",), "far", {"text": "quite unlike", "rare": True})
        counts(store)

        assert ["far"] == [
            one.key for one in store.search(("a",), query="tea rain boat", filter={"rare": True}, limit=1)
        ]
        assert 20 == len(store.search(("a",), query="tea rain boat", limit=20))


def test_it_finds_nearly_all_of_what_comparing_all_finds(file: Path, small: dict[str, Any]) -> None:
    """Random directions are the hardest there are."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(2_000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [f"number {n}" for n in range(len(vectors))]
    with TieredStore(file, **small) as store:
        assert store._vectors is not None and store._chroma is not None
        made = {text: vector.tobytes() for text, vector in zip(texts, vectors, strict=True)}
        store._write(store._plan([PutOp(("a",), t, {"text": t}) for t in texts]).drafts, made)
        store._chroma.settle()
        hits = 0
        for query in vectors[:50]:
            items = store._chroma(1, query, 10)
            assert items is not None
            exact = np.argsort(-(vectors @ query))[:10] + 1
            hits += len(set(exact.tolist()) & set(items))

    assert hits >= 0.95 * 500
