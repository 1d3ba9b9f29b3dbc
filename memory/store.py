"""A LangGraph store on one SQLite file: everything that `BaseStore` asks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from langchain_core.embeddings import Embeddings
from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
    ensure_embeddings,
    validate_op_namespace,
)

from memory.conditions import Test, compiled
from memory.database import Database
from memory.drafts import Draft, clean, draft
from memory.errors import StoreMismatch
from memory.index import Ask, Index, Nearest
from memory.lock import WriterLock
from memory.namespaces import Namespace, listing
from memory.nearest import ChromaIndex
from memory.ranking import WEIGHTS, Floats, Weights
from memory.results import Recalled
from memory.shelf import Shelf
from memory.sweeper import Sweeper
from memory.tombstones import Tombstones
from memory.vectors import Vectors

_TURN = 0.8  # seconds; opening takes a few hundredths of one
EXACT = 4_000
"""Up to so many vectors a scope is compared with all of them; beyond, an approximate index names candidates."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch that was read once: every operation checked, every filter compiled, before anything happens."""

    ops: Sequence[Op]
    drafts: Sequence[Draft]
    tests: Mapping[int, Test]

    @property
    def texts(self) -> list[str]:
        return [text for one in self.drafts for text in one.texts]

    @property
    def queries(self) -> list[str]:
        return [clean(op.query) for op in self.ops if isinstance(op, SearchOp) and op.query]


class LocalStore(BaseStore):
    """A `BaseStore` on one SQLite file; every method may be called from any thread.

    `index` is LangGraph's `IndexConfig`. Without `embed` in it recall goes by words alone, and `stats()` says so.
    A file has one writer, unless all who open it name the `server` that runs their Chroma.
    """

    supports_ttl = True

    def __init__(
        self,
        path: str | Path,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        weights: Weights = WEIGHTS,
        exact: int = EXACT,
        server: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.index_config = cast("IndexConfig | None", dict(index) if index is not None else None)
        self.ttl_config = ttl
        self._fields: list[str] = list((index or {}).get("fields") or ["$"])
        self._path = None if str(path) == ":memory:" else Path(path)
        self._lock = WriterLock(self._path) if self._path else None
        self._alone = server is None
        if self._path and self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Those who share a file take turns to open it.
            self._lock.acquire(patience=_TURN if server else 0)
        try:
            self._database = Database(path)
            _agree(self._database, server)
            self._vectors = _vectors(index, self._database)
        except BaseException:
            if self._lock:
                self._lock.release()
            raise
        if self._lock and server:
            self._lock.release()
        omit = bool((ttl or {}).get("omit_expired"))
        # As LangGraph's stores on databases have it: reads put off the end only where the configuration says so.
        self._refreshes = bool((ttl or {}).get("refresh_on_read"))
        self._now: Callable[[], int] = lambda: int(clock() * 1e6)
        self._tombstones = Tombstones(self._database)
        self._warm = Shelf(self._database, self._tombstones, tier="warm", now=self._now, omit=omit)
        dims = self._vectors.dims if self._vectors else None
        self._chroma = None
        if self._path and dims:
            self._chroma = ChromaIndex(Path(f"{path}.chroma"), self._database, exact=exact, server=server)
        nearest: Nearest = self._chroma or (lambda *_: None)
        self._index = Index(self._warm, weights=weights, dims=dims, nearest=nearest, exact=exact)
        self._sweeper = Sweeper(self.sweep_ttl)

    @property
    def embeddings(self) -> Embeddings | None:
        """The model that texts are embedded with; None where recall is lexical."""
        return self._vectors.embeddings if self._vectors else None

    # BaseStore

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Perform the operations: first what reads, then all writes in one transaction."""
        plan = self._plan(ops)
        vectors = self._vectors.documents(plan.texts) if self._vectors else {}
        queries = self._vectors.queries(plan.queries) if self._vectors else {}
        return self._perform(plan, vectors, queries)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """The same off the event loop; only an asynchronous embedding model is awaited on it."""
        plan = self._plan(ops)
        vectors = await self._vectors.adocuments(plan.texts) if self._vectors and plan.texts else {}
        queries = await self._vectors.aqueries(plan.queries) if self._vectors and plan.queries else {}
        return await asyncio.to_thread(self._perform, plan, vectors, queries)

    def _plan(self, ops: Iterable[Op]) -> Plan:
        every = list(ops)
        for op in every:
            validate_op_namespace(op)
        return Plan(
            ops=every,
            drafts=[draft(op, self._fields) for op in every if isinstance(op, PutOp)],
            tests={n: compiled(op.filter) for n, op in enumerate(every) if isinstance(op, SearchOp)},
        )

    def _perform(self, plan: Plan, vectors: Mapping[str, bytes], queries: Mapping[str, Floats]) -> list[Result]:
        results: list[Result] = [None] * len(plan.ops)
        for n, op in enumerate(plan.ops):
            match op:
                case GetOp():
                    results[n] = self._get(op)
                case SearchOp():
                    results[n] = self._search(op, plan.tests[n], queries.get(clean(op.query or "")))
                case ListNamespacesOp():
                    results[n] = listing(self._namespaces(), op)
                case PutOp():
                    pass
                case _:
                    raise ValueError(f"expected a GetOp, SearchOp, ListNamespacesOp or PutOp, got {op!r}")
        if plan.drafts:
            self._write(plan.drafts, vectors)
        return results

    def _get(self, op: GetOp) -> Item | None:
        if op.refresh_ttl and self._refreshes:
            self._warm.refresh([(op.namespace, op.key)])
        return self._warm.get(op.namespace, op.key)

    def _write(self, drafts: Sequence[Draft], vectors: Mapping[str, bytes]) -> None:
        touched = self._warm.write(drafts, vectors)
        if self._chroma:
            self._chroma.notice(touched)

    def _namespaces(self) -> list[Namespace]:
        return self._warm.namespaces()

    def _find(self, prefix: Namespace, ask: Ask) -> list[Recalled]:
        """The first results of a search, as many as its page reaches to."""
        return self._index.search(prefix, ask) if ask.text else self._warm.newest(prefix, ask.test, ask.most)

    def _search(self, op: SearchOp, test: Test, vector: Floats | None) -> list[Any]:
        ask = Ask(clean(op.query or ""), vector, test, op.offset + op.limit, filtered=bool(op.filter))
        page = self._find(tuple(op.namespace_prefix), ask)[op.offset :]
        if op.refresh_ttl and self._refreshes:
            self._warm.refresh((one.namespace, one.key) for one in page)
        return page

    # Time to live

    def sweep_ttl(self) -> int:
        """Delete what has expired; how many items that were."""
        return self._warm.sweep()

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> Future[None]:
        """Sweep every so often in a thread; cancelling the future stops it."""
        minutes = sweep_interval_minutes or (self.ttl_config or {}).get("sweep_interval_minutes") or 5
        return self._sweeper.start(minutes)

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop the thread; whether it has ended within the timeout."""
        return self._sweeper.stop(timeout)

    # Its life

    def setup(self) -> None:
        """Nothing is left to do: opening sets up. LangGraph's stores have it, so callers may call it."""

    def files(self) -> list[Path]:
        """Every file that belongs to this store and is there now."""
        if self._path is None:
            return []
        beside = [Path(f"{self._path}{end}") for end in ("", "-wal", "-shm", ".lock", ".holder", ".chroma.turn")]
        return sorted(file for file in [*beside, *Path(f"{self._path}.chroma").rglob("*")] if file.is_file())

    def close(self) -> None:
        """Close the file and let another process have it; closing twice does nothing."""
        if not self._database.is_open:
            return
        self._sweeper.stop()
        if self._chroma:
            self._chroma.close()
        self._database.close()
        if self._lock and self._alone:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _agree(database: Database, server: str | None) -> None:
    """A file is shared by all who open it, or by none."""
    if server:
        database.meta("shared", "yes")
    elif database.meta("shared"):
        raise StoreMismatch(
            "this store is shared by several processes; open it with `server=`, the address of the Chroma they share"
        )


def _vectors(index: IndexConfig | None, database: Database) -> Vectors | None:
    if not index or not index.get("embed"):
        return None
    if not index.get("dims"):
        raise ValueError("index needs `dims`, how many numbers a vector of its `embed` has; MiniLM's are 384")
    return Vectors(ensure_embeddings(index["embed"]), int(index["dims"]), database)
