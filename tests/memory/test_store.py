"""A `TieredStore` is a LangGraph store: what was put is there, in another process too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, PutOp, SearchOp

from memory import AsyncTieredStore, StoreClosed, StoreMismatch, TieredStore


def test_what_was_put_is_there_after_reopening(file: Path) -> None:
    with TieredStore(file) as store:
        store.put(("users", "ada"), "colour", {"likes": "green"})
    with TieredStore(file) as again:
        found = again.get(("users", "ada"), "colour")

    assert found is not None and {"likes": "green"} == found.value


def test_a_node_of_a_graph_finds_what_another_one_stored(by_words: TieredStore) -> None:
    class State(TypedDict):
        reply: str

    def learn(state: State, *, store: BaseStore) -> dict[str, Any]:
        store.put(("ada",), "1", {"text": "Ada keeps bees"})
        return {}

    def answer(state: State, *, store: BaseStore) -> dict[str, Any]:
        return {"reply": store.search(("ada",), query="what does she keep? bees?")[0].value["text"]}

    builder = StateGraph(State).add_sequence([learn, answer]).add_edge(START, "learn")

    assert {"reply": "Ada keeps bees"} == builder.compile(store=by_words).invoke({"reply": ""})


def test_an_update_keeps_the_time_of_creation(by_words: TieredStore, clock: Any) -> None:
    by_words.put(("a",), "k", {"n": 1})
    clock.pass_minutes(5)
    by_words.put(("a",), "k", {"n": 2})
    item = by_words.get(("a",), "k")

    assert item is not None and 300 == (item.updated_at - item.created_at).total_seconds()


def test_the_same_text_may_come_twice_in_one_batch_and_in_one_item(file: Path, bags: Any) -> None:
    """LangGraph's InMemoryStore raises for both; and a text is embedded once."""
    with TieredStore(file, index={"embed": bags, "dims": 64, "fields": ["a", "b"]}) as store:
        store.batch([PutOp(("x",), str(n), {"a": "same words", "b": "same words"}) for n in range(3)])
        found = store.search(("x",), query="same words")

    assert (["0", "1", "2"], ["same words"]) == ([one.key for one in found], bags.asked)


def test_a_text_that_is_known_is_not_embedded_again(store: TieredStore, bags: Any) -> None:
    store.put(("a",), "1", {"text": "rain tomorrow"})
    store.put(("b",), "2", {"text": "rain tomorrow"})

    assert ["rain tomorrow"] == bags.asked


def test_a_batch_reads_what_was_there_before_it_and_writes_all_or_nothing(by_words: TieredStore) -> None:
    by_words.put(("a",), "k", {"n": 1})

    before, _ = by_words.batch([GetOp(("a",), "k"), PutOp(("a",), "k", {"n": 2})])
    with pytest.raises(InvalidNamespaceError):
        by_words.batch([PutOp(("a",), "k", {"n": 3}), GetOp(("a.b",), "k")])
    with pytest.raises(TypeError, match="a value is a mapping that JSON can hold"):
        by_words.batch([PutOp(("a",), "k", {"n": 4}), PutOp(("a",), "m", {"n": object()})])
    after = by_words.get(("a",), "k")

    assert ({"n": 1}, {"n": 2}) == (before.value, after and after.value)  # type: ignore[union-attr]


def test_an_item_without_its_text_any_more_is_found_by_it_no_more(store: TieredStore) -> None:
    store.put(("a",), "k", {"text": "a red umbrella"})
    store.put(("a",), "k", {"text": "a grey coat"})
    store.put(("a",), "gone", {"text": "a red umbrella"})
    store.delete(("a",), "gone")

    assert [("k", None)] == [(r.key, r.parts.get("words")) for r in store.search(("a",), query="umbrella")]  # type: ignore[attr-defined]


def test_tasks_of_one_loop_share_a_batch_and_may_not_block_it(file: Path) -> None:
    async def main() -> tuple[Any, str]:
        async with AsyncTieredStore(TieredStore(file)) as store:
            await asyncio.gather(*(store.aput(("a",), str(n), {"n": n}) for n in range(20)))
            refused = ""
            try:
                store.get(("a",), "1")
            except asyncio.InvalidStateError as problem:
                refused = str(problem)
            return await store.aget(("a",), "19"), refused

    found, refused = asyncio.run(main())

    assert ({"n": 19}, True) == (found.value, "aget" in refused)


def test_a_closed_store_says_so(file: Path) -> None:
    store = TieredStore(file)
    store.close()
    store.close()

    with pytest.raises(StoreClosed, match="open a new one"):
        store.get(("a",), "k")


def test_vectors_of_two_models_never_mix(file: Path, index: Any) -> None:
    TieredStore(file, index=index).close()

    with pytest.raises(StoreMismatch, match="bags/64.*opened with other/64"):
        TieredStore(file, index={**index, "embed": type("Other", (type(index["embed"]),), {"model": "other"})()})


def test_vectors_of_another_length_are_refused(file: Path, bags: Any) -> None:
    with TieredStore(file, index={"embed": bags, "dims": 3}) as store:
        with pytest.raises(StoreMismatch, match="expected vectors of 3 numbers"):
            store.put(("a",), "k", {"text": "x"})
        assert store.get(("a",), "k") is None


def test_pages_of_a_search_join_without_a_gap(store: TieredStore) -> None:
    for n in range(9):
        store.put(("a", str(n % 2)), str(n), {"text": f"apple number {n}", "odd": n % 2})
    whole = [r.key for r in store.search(("a",), query="apple", limit=9)]
    paged = [r.key for start in (0, 4, 8) for r in store.search(("a",), query="apple", limit=4, offset=start)]
    some = store.batch([SearchOp(("a",), {"odd": 1}, 10, 0, "apple")])[0]

    assert (whole, 4) == (paged, len(some))  # type: ignore[arg-type]
