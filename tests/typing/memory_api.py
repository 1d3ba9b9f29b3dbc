"""Never run, only type-checked, as a user's own code would be: the store's public API keeps its types."""

# LangGraph's own methods are partly untyped; what is checked here is ours.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from datetime import datetime
from typing import assert_type

from langgraph.store.base import BaseStore

from memory import (
    AsyncTieredStore,
    ErasureReceipt,
    Fact,
    Memories,
    MiniLM,
    Policy,
    Recalled,
    StoreLocked,
    TieredStore,
    Weights,
)


def extract(text: str) -> list[tuple[str, str, str]]:
    return [(text, "is", text)]


def use() -> None:
    store = TieredStore(
        "memory.db",
        index={"embed": MiniLM(), "dims": MiniLM.dims, "fields": ["text"]},
        ttl={"default_ttl": 60},
        policy=Policy(extract=extract),
        weights=Weights(words=0.5),
    )
    as_any_store: BaseStore = store
    assert_type(store.remember(("a",), "text", at=datetime.now(), tier="hot", mood="good"), str)
    memories = store.recall(("a",), "question", as_of=datetime.now())
    assert_type(memories, Memories)
    assert_type(memories.items, tuple[Recalled, ...])
    assert_type(memories.items[0].parts, dict[str, float])
    assert_type(memories.facts, tuple[Fact, ...])
    assert_type(store.facts.about(("a",)), list[Fact])
    receipt = store.erase(("a",))
    assert_type(receipt, ErasureReceipt)
    assert_type(receipt.clean, bool)
    as_any_store.put(("a",), "k", {"text": "x"})


async def use_async(store: TieredStore) -> None:
    async with AsyncTieredStore(store) as asynchronous:
        await asynchronous.aput(("a",), "k", {"text": "x"})
    assert_type(await store.arecall(("a",), "question"), Memories)


def locked(problem: StoreLocked) -> None:
    assert_type(problem.pid, int | None)
