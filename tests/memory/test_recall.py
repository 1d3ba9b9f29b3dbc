"""Recall: what a question is about comes first, for reasons that stand beside it, and the same way every time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import PutOp

from memory import EmbeddingUnavailable, MiniLM, TieredStore
from tests.memory.dialogue import QUESTIONS, SESSIONS


def turns() -> Iterator[tuple[str, dict[str, Any]]]:
    for n, (day, said) in enumerate(SESSIONS):
        for m, text in enumerate(said):
            yield f"{n}:{m}", {"text": text, "session": str(n), "speaker": text.split(":")[0], "at": day}


def told(store: TieredStore, *scope: str) -> TieredStore:
    store.batch([PutOp(scope or ("talk",), key, value) for key, value in turns()])
    return store


def mrr(answer: Callable[[str], list[str]]) -> float:
    """How early the answers come, on average: 1 is always first."""
    ranks = [(answer(question)[:10], key) for question, key in QUESTIONS.items()]
    return sum(1 / (found.index(key) + 1) if key in found else 0 for found, key in ranks) / len(ranks)


def full_text() -> Callable[[str], list[str]]:
    """SQLite's FTS5 with its stemmer, as anybody would use it."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5(key UNINDEXED, text, tokenize='porter')")
    db.executemany("INSERT INTO t VALUES(?, ?)", [(key, value["text"]) for key, value in turns()])

    def search(question: str) -> list[str]:
        words = " OR ".join(f'"{word}"' for word in question.replace("?", "").replace("'", " ").split())
        return [key for (key,) in db.execute("SELECT key FROM t WHERE t MATCH ? ORDER BY rank LIMIT 10", (words,))]

    return search


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    try:
        return MiniLM()
    except EmbeddingUnavailable as missing:
        pytest.skip(str(missing))


def test_by_words_alone_it_finds_more_than_full_text_search(by_words: TieredStore) -> None:
    told(by_words)

    ours = mrr(lambda question: [one.key for one in by_words.search(("talk",), query=question)])

    assert ours > mrr(full_text()) + 0.1


def test_with_meaning_it_finds_more_than_words_vectors_or_their_ranks_do(file: Path, minilm: MiniLM) -> None:
    """Reciprocal rank fusion, the usual way to join the two, is the third baseline."""
    with TieredStore(file, index={"embed": minilm, "dims": 384, "fields": ["text"]}) as store:
        told(store)
        ours = mrr(lambda question: [one.key for one in store.search(("talk",), query=question)])
        keys = [key for key, _ in turns()]
        texts = minilm.embed_documents([value["text"] for _, value in turns()])

    def by_vector(question: str) -> list[str]:
        query = minilm.embed_query(question)
        near = [sum(a * b for a, b in zip(query, text, strict=True)) for text in texts]
        return [key for _, key in sorted(zip(near, keys, strict=True), reverse=True)][:10]

    def by_ranks(question: str) -> list[str]:
        lists = [by_vector(question), full_text()(question)]
        fused = {key: sum(1 / (60 + one.index(key)) for one in lists if key in one) for key in keys}
        return sorted(keys, key=lambda key: -fused[key])[:10]

    assert ours > max(mrr(full_text()), mrr(by_vector), mrr(by_ranks)) + 0.05


def test_a_result_says_what_its_score_is_made_of(store: TieredStore) -> None:
    best = told(store).search(("talk",), query="In October Mira sold which car?")[0]

    assert "3:3" == best.key
    assert {"meaning", "words", "session", "coverage", "speaker", "month"} <= set(best.parts)  # type: ignore[attr-defined]
    assert best.score == pytest.approx(min(1.0, sum(best.parts.values())))  # type: ignore[attr-defined]


def test_the_line_after_a_question_answers_it(by_words: TieredStore) -> None:
    """No word of "Right behind the old market hall." stands in the question that it answers."""
    found = told(by_words).search(("talk",), query="in which part of town is the place to live?", limit=4)

    assert "1:2" in [one.key for one in found]


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, index: Any, clock: Any) -> None:
    seen = list[bytes]()
    for n in range(2):
        with TieredStore(tmp_path / f"{n}.db", index=index, clock=clock) as store:
            told(store)
            found = [one.dict() for question in QUESTIONS for one in store.search((), query=question, limit=40)]
            seen.append(json.dumps(found).encode())

    assert seen[0] == seen[1]


def test_what_is_in_other_scopes_moves_no_score(store: TieredStore) -> None:
    """Statistics of words are of one scope: otherwise one customer's words show in another's results."""
    told(store, "ada")
    before = [(one.key, one.score) for one in store.search(("ada",), query="What may Pepper eat?")]
    for n in range(50):
        store.put(("bob",), str(n), {"text": f"Pepper may eat Pepper, {n} times"})

    assert before == [(one.key, one.score) for one in store.search(("ada",), query="What may Pepper eat?")]


def test_without_a_model_what_shares_no_word_is_no_answer(by_words: TieredStore) -> None:
    assert [] == told(by_words).search(("talk",), query="quantum chromodynamics")


def test_an_item_that_is_not_indexed_comes_last_and_without_a_score(store: TieredStore) -> None:
    store.put(("a",), "hidden", {"text": "green tea"}, index=False)
    store.put(("a",), "far", {"text": "a bicycle"})
    store.put(("a",), "near", {"text": "green tea"})

    found = store.search(("a",), query="green tea")

    assert ["near", "far", "hidden"] == [one.key for one in found] and found[-1].score is None


def test_odd_questions_and_odd_texts_do_no_harm(store: TieredStore) -> None:
    for n, text in enumerate(["🎉", "?", "x" * 5000, "\ud800 torn", 'NULL\' OR "1"*', "31 February 2024"]):
        store.put(("a",), str(n), {"text": text, "session": "s", "at": "no date"})
    for query in [
        "?",
        "🎉",
        "NEAR(",
        '"',
        "31 February 2023",
        "\ud800",
        "when in May, 31 or 99?",
        "the of and",
        " ".join(map(str, range(70_000))),
    ]:
        assert 6 == len(store.search(("a",), query=query))
