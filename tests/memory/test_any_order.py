"""Whatever is written in whatever order, the store holds what a dictionary would, and every index agrees with it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from langgraph.store.base import PutOp

from memory import TieredStore
from tests.memory.conftest import Bags

SPACES = [("a",), ("a", "b"), ("ab",)]
TEXTS = st.sampled_from(["tea", "tea and rain", "🎉", "", 'O\'Neil "said" NULL', "\ud800", "a\x00b", "東京 café"])
VALUES = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"text": TEXTS}, optional={"session": st.sampled_from(["s", "t"]), "n": st.integers(-3, 3), "at": TEXTS}
    ),
)
PUTS = st.builds(
    PutOp, st.sampled_from(SPACES), st.sampled_from("klm"), VALUES, st.sampled_from([None, False, ["text"]]), st.none()
)


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(st.lists(st.lists(PUTS, max_size=6), max_size=8))
def test_any_batches_leave_what_a_dictionary_would_hold(batches: list[list[PutOp]]) -> None:
    expected: dict[Any, Any] = {}
    index: Any = {"embed": Bags(), "dims": 64, "fields": ["text"]}
    with TemporaryDirectory() as folder, TieredStore(Path(folder) / "m.db", index=index, exact=1) as store:
        for batch in batches:
            store.batch(batch)
            expected |= {(op.namespace, op.key): op.value for op in batch}
        held = {place: value for place, value in expected.items() if value is not None}
        assert store._chroma is not None
        store._chroma.settle()

        assert held == {(one.namespace, one.key): one.value for one in store.search((), limit=100)}
        assert set(held) == {(one.namespace, one.key) for one in store.search((), query="tea rain", limit=100)}
        assert sorted({space for space, _ in held}) == store.list_namespaces()
        assert ({}, 0) == (store._chroma.differences(), store.stats()["outbox"])
        with store._database.reading() as db:
            [(stray,)] = db.execute("SELECT count(*) FROM vectors WHERE item NOT IN (SELECT id FROM items)").fetchall()
        assert 0 == stray
