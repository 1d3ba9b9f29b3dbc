"""To forget is to forget everywhere: no tier finds it, no file holds it, and no late write brings it back."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import PutOp

from memory import Erased, TieredStore

CANARY = "XCANARY7731"
EVE = ("users", "eve")
ADA = ("users", "ada")


class Letters(Embeddings):
    """A text is how often each of 32 kinds of its pieces comes."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = [0.0] * 32
        for n in range(len(text) - 1):
            vector[zlib.crc32(text[n : n + 2].encode()) % 32] += 1.0
        return vector


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


def opened(path: Path) -> TieredStore:
    return TieredStore(path, index={"embed": Letters(), "dims": 32, "fields": ["text"]}, exact=3)


def fill(store: TieredStore, scope: tuple[str, ...], word: str) -> None:
    store.batch([PutOp(scope, f"{word}-{n}", {"text": f"{word} said {n} things", "note": word}) for n in range(12)])
    store.remember((*scope, "deeper"), f"{word} in a scope below", session=word)
    store.remember(scope, f"{word} is hot", tier="hot")
    store.facts.add(scope, word, "knows", f"{word}'s brother", sources=[word])
    store.delete(scope, f"{word}-1")  # what was deleted before must not stay in a free page either
    store.recall(scope, f"what did {word} say?")


def holding(path: Path, needles: Sequence[bytes]) -> list[str]:
    files = [file for file in path.parent.rglob("*") if file.is_file()]
    return [file.name for file in files for needle in needles if needle in file.read_bytes()]


def test_nothing_is_left_in_any_tier_or_file_and_others_lose_nothing(path: Path) -> None:
    with opened(path) as store:
        fill(store, EVE, CANARY)
        fill(store, ADA, "otherword")
        assert store._chroma is not None
        store._chroma.settle()
        with store._database.reading() as db:
            vectors = [
                bytes(data)
                for (data,) in db.execute(
                    "SELECT data FROM vectors v JOIN scopes s ON s.id = v.scope WHERE namespace LIKE 'users.eve.%'"
                )
            ]
        assert holding(path, [CANARY.encode()]) and holding(path, vectors)

        receipt = store.erase(EVE)
        found = store.search(("users",), query=CANARY, limit=100), store.search(EVE), store.facts.about(EVE)
        kept = len(store.search(ADA, limit=100)), len(store.facts.about(ADA)), store.facts.about(ADA)[0].subject
        store.put(ADA, "later", {"text": "and life goes on"})

        assert [] == holding(path, [CANARY.encode(), *vectors])
        assert (0, [], []) == (sum(one.namespace[:2] == EVE for one in found[0]), found[1], found[2])
    assert [] == holding(path, [CANARY.encode(), *vectors])
    assert (True, 13, 1, 0) == (receipt.clean, receipt.items, receipt.facts, receipt.left)
    assert (13, 1, "otherword") == kept


def test_the_files_of_a_large_scope_are_gone_too(path: Path) -> None:
    """From a thousand vectors on, Chroma keeps files of its own for a collection, and leaves them when it is deleted."""
    with opened(path) as store:
        store.batch([PutOp(EVE, str(n), {"text": f"{CANARY} {n * n} {n}"}) for n in range(1_100)])
        fill(store, ADA, "otherword")
        assert store._chroma is not None
        store._chroma.settle()
        with store._database.reading() as db:
            vectors = [bytes(data) for (data,) in db.execute("SELECT data FROM vectors WHERE scope = 1 LIMIT 50")]
        folders = [file for file in Path(f"{path}.chroma").rglob("*") if file.is_file()]
        assert any(vector in file.read_bytes() for file in folders if file.suffix == ".bin" for vector in vectors)

        receipt = store.erase(EVE)

    assert (True, []) == (receipt.clean, holding(path, vectors))


def test_an_erasure_that_was_cut_off_is_finished_by_asking_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as store:
        fill(store, EVE, CANARY)
        assert store._chroma is not None
        store._chroma.settle()
        with monkeypatch.context() as cut:
            cut.setattr(store._database, "vacuum", lambda: None)
            cut.setattr(store._chroma, "erase", lambda: None)
            store.erase(EVE)
    with opened(path) as again:
        with pytest.raises(Erased):
            again.put(EVE, "k", {"text": CANARY})
        again.erase(EVE)
        assert again._chroma is not None and set() == again._chroma._names()

    assert [] == holding(path, [CANARY.encode()])


def test_writers_that_will_not_stop_bring_nothing_back(path: Path) -> None:
    refused, stop = list[int](), threading.Event()

    def writer(n: int) -> None:
        counts = [0, 0]
        while not stop.is_set() or not counts[1]:
            try:
                store.put(EVE, f"w{n}-{sum(counts)}", {"text": f"{CANARY} again {n}"})
                store.remember((*EVE, "more"), f"{CANARY} {n} {sum(counts)}", tier="hot")
                counts[0] += 1
            except Erased:
                counts[1] += 1
        refused.append(counts[1])

    with opened(path) as store:
        threads = [threading.Thread(target=writer, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        while len(store.search(EVE, limit=9)) < 9:
            pass
        receipt = store.erase(EVE)
        stop.set()
        for thread in threads:
            thread.join()

        assert ([], 0, True) == (store.search(EVE, query=CANARY), store.stats()["hot"], receipt.clean)
        with pytest.raises(Erased, match="readmit"):
            store.facts.add(EVE, CANARY, "is", "back")
    assert (3, []) == (len(refused), holding(path, [CANARY.encode()]))


def test_an_erased_scope_stays_closed_after_reopening_until_it_is_readmitted(path: Path) -> None:
    with opened(path) as store:
        fill(store, EVE, CANARY)
        store.erase(("users",))
    with opened(path) as again:
        with pytest.raises(Erased):
            again.put(EVE, "k", {"text": "hello"})
        assert (True, False) == (again.readmit(("users",)), again.readmit(("users",)))
        again.put(EVE, "k", {"text": "hello"})
        assert ["k"] == [one.key for one in again.search(EVE)]


def test_what_another_scope_holds_too_is_not_taken_for_a_leak(path: Path) -> None:
    with opened(path) as store:
        for scope in (EVE, ADA):
            store.remember(scope, "the shop opens at nine o'clock", at=datetime(2024, 1, 1, tzinfo=UTC))
        receipt = store.erase(EVE)

        assert (True, 1) == (receipt.clean, len(store.search(ADA, query="when does the shop open")))


def test_erasing_everything_by_mistake_is_refused(path: Path) -> None:
    with opened(path) as store, pytest.raises(ValueError, match="delete its files"):
        store.erase(())
