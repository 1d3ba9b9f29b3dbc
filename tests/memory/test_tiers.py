"""What is hot becomes warm, what is agreed on becomes cold, and every tier is one store to whoever reads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memory import Policy, TieredStore

TALK = ("ada", "talk")


def likes(text: str) -> Iterable[tuple[str, str, str]]:
    yield from ((who, "likes", what) for who, what in re.findall(r"(\w+) likes (\w+)", text))


def test_hot_memories_are_found_beside_the_warm_ones_and_gone_with_the_process(file: Path, index: Any) -> None:
    with TieredStore(file, index=index) as store:
        store.remember(TALK, "the boat is red", tier="hot")
        store.remember(TALK, "the boat is new")
        found = store.recall(TALK, "the boat").items
        listed = {one.key for one in store.search(TALK)}

    with TieredStore(file, index=index) as again:
        left = [one.value["text"] for one in again.search(TALK)]

    assert ({"hot", "warm"}, {one.key for one in found}, ["the boat is new"]) == ({o.tier for o in found}, listed, left)


def test_the_end_of_a_conversation_keeps_what_was_hot_in_its_order(file: Path, clock: Any) -> None:
    with TieredStore(file, index={"fields": ["text"]}, clock=clock) as store:
        for text in ("Ada: where is the key?", "Bo: under the mat"):
            store.remember(TALK, text, session="1", tier="hot")
        moved = store.promote(("ada",))
    with TieredStore(file) as again:
        found = [one.value["text"] for one in again.search(TALK, query="where is the key")]

    assert (2, "Bo: under the mat") == (moved, found[0])


def test_a_memory_that_is_recalled_again_and_again_is_kept(store: TieredStore) -> None:
    store.remember(TALK, "the boat is red", tier="hot")
    store.remember(TALK, "quite another matter", tier="hot")

    for _ in range(2):
        store.recall(TALK, "the boat", limit=1)

    assert {"the boat is red": "warm", "quite another matter": "hot"} == {
        one.value["text"]: one.tier  # type: ignore[attr-defined]
        for one in store.search(TALK)
    }


def test_the_oldest_make_room_when_too_much_is_hot_and_none_is_lost(file: Path) -> None:
    with TieredStore(file, policy=Policy(hot_items=5, hot_words=12)) as store:
        for n in range(8):
            store.remember(TALK, f"number {n} exactly", tier="hot")
        tiers = {one.value["text"].split()[1]: one.tier for one in store.search(TALK)}  # type: ignore[attr-defined]

    assert {str(n): "hot" if n > 3 else "warm" for n in range(8)} == tiers


def test_what_is_put_takes_the_place_of_what_was_hot(store: TieredStore) -> None:
    key = store.remember(TALK, "the boat is red", tier="hot")
    store.put(TALK, key, {"text": "the boat is blue"})
    store.remember(TALK, "gone", key="gone", tier="hot")
    store.delete(TALK, "gone")

    assert ["the boat is blue"] == [one.value["text"] for one in store.search(TALK)]


def test_the_same_words_of_the_same_conversation_are_one_memory(store: TieredStore) -> None:
    for session in ("1", "1", "2"):
        store.remember(TALK, "see you tomorrow", session=session)

    assert 2 == store.stats()["warm"]


def test_what_is_on_the_disk_does_not_become_hot_beside_it(store: TieredStore) -> None:
    for tier in ("warm", "hot"):
        store.remember(TALK, "see you tomorrow", tier=tier)

    assert ["warm"] == [one.tier for one in store.search(TALK)]  # type: ignore[attr-defined]


def test_facts_become_cold_when_two_memories_state_them_or_one_that_is_pinned(file: Path) -> None:
    with TieredStore(file, policy=Policy(extract=likes)) as store:
        store.remember(TALK, "Ada likes tea, I hear", at=datetime(2024, 3, 1, tzinfo=UTC))
        store.remember(TALK, "yes, Ada likes tea", at=datetime(2024, 2, 1, tzinfo=UTC))
        store.remember(TALK, "Bo likes rain")
        store.remember(TALK, "Eve likes snow", pinned=True)
        store.promote(TALK)
        store.promote(TALK)
        facts = store.facts.about(TALK)

    assert [("Ada", "tea", 2), ("Eve", "snow", 1)] == [(f.subject, f.object, len(f.sources)) for f in facts]
    assert datetime(2024, 2, 1, tzinfo=UTC) == facts[0].valid_at


def test_what_is_worth_least_leaves_the_index_and_stays_in_the_store(store: TieredStore, clock: Any) -> None:
    store.remember(TALK, "an old boat", key="old")
    store.remember(TALK, "an old but pinned boat", key="pinned", pinned=True)
    clock.pass_minutes(60 * 24 * 90)
    store.remember(TALK, "a new boat", key="new")
    store.remember(TALK, "a used boat", key="used")
    store.recall(TALK, "a used boat", limit=1)

    gone = store.demote(TALK, keep=3)
    item = store.get(TALK, "old")

    assert (1, {"text": "an old boat"}) == (gone, item and item.value)
    assert [None] == [one.score for one in store.search(TALK, query="boat") if one.key == "old"]
    assert "old" not in {one.key for one in store.recall(TALK, "boat").items}
    store.put(TALK, "old", {"text": "an old boat"})
    assert None not in [one.score for one in store.search(TALK, query="boat")]


def test_recall_brings_the_facts_about_what_the_question_names(store: TieredStore) -> None:
    store.facts.add(TALK, "Ada Lovelace", "lives in", "London")
    store.facts.add(TALK, "Bo", "lives in", "Kiel")
    store.remember(TALK, "Ada Lovelace sold her boat")

    memories = store.recall(TALK, "where does ada lovelace live?")

    assert [("Ada Lovelace", "London")] == [(fact.subject, fact.object) for fact in memories.facts]
    assert ["Ada Lovelace sold her boat"] == [one.value["text"] for one in memories.items]


def test_recall_as_of_a_time_knows_nothing_of_later(store: TieredStore) -> None:
    for year in (2022, 2023, 2024):
        store.remember(TALK, f"the boat in {year}", at=datetime(year, 1, 1, tzinfo=UTC))

    memories = store.recall(TALK, "the boat", as_of=datetime(2023, 6, 1, tzinfo=UTC))

    assert {"the boat in 2022", "the boat in 2023"} == {one.value["text"] for one in memories.items}


def test_a_store_says_how_it_recalls_and_what_it_holds(store: TieredStore, tmp_path: Path) -> None:
    store.remember(TALK, "warm")
    store.remember(TALK, "hot", tier="hot")
    with TieredStore(tmp_path / "other.db") as other:
        lexical = other.stats()["recall"]
    stats = store.stats()

    assert ("words alone", "words and meaning", 1, 1) == (lexical, stats["recall"], stats["hot"], stats["warm"])


def test_a_rebuild_embeds_what_was_written_without_a_model_and_changes_nothing_else(file: Path, index: Any) -> None:
    with TieredStore(file, index={"fields": ["text"]}) as words:
        words.put(TALK, "1", {"text": "red boat"}, ttl=500)
        before = words.get(TALK, "1")
    with TieredStore(file, index=index) as store:
        missing = store.stats()["without_vectors"]
        store.rebuild()

        assert (1, 0, before) == (missing, store.stats()["without_vectors"], store.get(TALK, "1"))
        assert store.search(TALK, query="red boat")[0].parts["meaning"] == pytest.approx(1)  # type: ignore[attr-defined]


def test_remembering_and_recalling_leave_the_event_loop_free(store: TieredStore) -> None:
    async def main() -> list[str]:
        await asyncio.gather(*(store.aremember(TALK, f"boat number {n}") for n in range(10)))
        return [one.key for one in (await store.arecall(TALK, "boat number 7")).items]

    assert 10 == len(set(asyncio.run(main())))
