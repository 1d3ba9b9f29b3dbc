"""`TieredStore`: hot, warm and cold memory behind one LangGraph store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from langgraph.store.base import GetOp, IndexConfig, Item, PutOp, SearchOp, TTLConfig

from memory.drafts import Draft
from memory.erasure import ErasureReceipt, erased_rows, search
from memory.facts import Fact, Facts
from memory.hot import HotTier
from memory.index import Ask
from memory.lifecycle import POLICY, Policy, said_at
from memory.namespaces import Namespace
from memory.ranking import WEIGHTS, Weights
from memory.results import Recalled, merged, time_of
from memory.store import EXACT, LocalStore
from memory.upkeep import counts, items_after, note_reads, uses

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Memories:
    """What was recalled: items, best first, and the facts about what the question names."""

    items: tuple[Recalled, ...]
    facts: tuple[Fact, ...]


class TieredStore(LocalStore):
    """A LangGraph store with three tiers, for `compile(store=...)`; every method may be called from any thread.

    *Hot* items live in this process. *Warm* ones are on the disk and found by words and meaning; what is `put` is
    warm. *Cold* is what stays: facts with their times, and items that are kept but found by their keys alone.
    `index` is LangGraph's `IndexConfig`. Without `embed` in it recall goes by words alone, and `stats()` says so.
    A file has one writer, unless all who open it name the `server` that runs their Chroma.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        policy: Policy = POLICY,
        weights: Weights = WEIGHTS,
        exact: int = EXACT,
        server: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(path, index=index, ttl=ttl, weights=weights, exact=exact, server=server, clock=clock)
        self.policy = policy
        self.facts = Facts(self._database, self._tombstones, now=self._now)
        dims = self._vectors.dims if self._vectors else None
        omit = bool((ttl or {}).get("omit_expired"))
        self._hot = HotTier(self._tombstones, now=self._now, weights=weights, dims=dims, omit=omit)
        self._reads: Counter[tuple[Namespace, str]] = Counter()

    # A store that reads all its tiers

    def _get(self, op: GetOp) -> Item | None:
        return self._hot.get(op.namespace, str(op.key)) or super()._get(op)

    def _find(self, prefix: Namespace, ask: Ask) -> list[Recalled]:
        found = super()._find(prefix, ask)
        if hot := self._hot.find(prefix, ask):
            found = merged([*found, *hot], by_score=bool(ask.text))[: ask.most]
        return found

    def _namespaces(self) -> list[Namespace]:
        return list(dict.fromkeys([*super()._namespaces(), *self._hot.namespaces()]))

    def _write(self, drafts: Sequence[Draft], vectors: Mapping[str, bytes]) -> None:
        super()._write(drafts, vectors)
        self._hot.forget([(draft.namespace, draft.key) for draft in drafts])

    def sweep_ttl(self) -> int:
        """Delete what has expired, in memory and on the disk; how many items that were."""
        return self._hot.sweep() + super().sweep_ttl()

    # Remembering and recalling

    def remember(
        self,
        scope: Namespace,
        text: str,
        *,
        key: str | None = None,
        session: str | None = None,
        speaker: str | None = None,
        at: datetime | None = None,
        importance: float | None = None,
        pinned: bool = False,
        tier: Literal["hot", "warm"] = "warm",
        ttl: float | None = None,
        **more: Any,
    ) -> str:
        """Keep a text, and answer its key. The same text of the same conversation is one memory, told twice or not."""
        given = {"session": session, "speaker": speaker, "at": at and at.isoformat(), "importance": importance}
        value = {"text": text} | {name: one for name, one in given.items() if one is not None} | more
        if pinned:
            value["pinned"] = True
        key = key or hashlib.sha256(json.dumps([text, session, speaker, given["at"]]).encode()).hexdigest()[:20]
        put = PutOp(tuple(scope), key, value, ["text"], ttl)
        if tier == "warm" or self._warm.row(put.namespace, key):
            self.batch([put])
        else:
            drafts = self._plan([put]).drafts
            self._hot.write(drafts, self._vectors.documents([text]) if self._vectors else {})
            self._settle_hot(self._hot.overflow(self.policy.hot_items, self.policy.hot_words))
        return key

    def recall(
        self,
        scope: Namespace,
        query: str,
        *,
        limit: int = 10,
        filter: dict[str, Any] | None = None,
        as_of: datetime | None = None,
    ) -> Memories:
        """The indexed memories that have to do with a question, and the facts about what it names.

        With `as_of`, memories from before that time and the facts that held then. What is recalled counts as used.
        """
        [found] = self.batch([SearchOp(tuple(scope), filter, limit if as_of is None else 10 * limit, 0, query)])
        items = [one for one in found if isinstance(one, Recalled) and one.score is not None]  # type: ignore[union-attr]
        if as_of is not None:
            items = [one for one in items if said_at(one) <= as_of.astimezone()][:limit]
        self._use(items)
        return Memories(tuple(items), tuple(self.facts.about(tuple(scope), _names(query), as_of=as_of)))

    async def aremember(self, scope: Namespace, text: str, **options: Any) -> str:
        """`remember`, off the event loop."""
        return await asyncio.to_thread(self.remember, scope, text, **options)

    async def arecall(self, scope: Namespace, query: str, **options: Any) -> Memories:
        """`recall`, off the event loop."""
        return await asyncio.to_thread(self.recall, scope, query, **options)

    def _use(self, items: Iterable[Recalled]) -> None:
        for one in items:
            if one.tier == "warm":
                self._reads[one.namespace, one.key] += 1
        hot = [(one.namespace, one.key) for one in items if one.tier == "hot"]
        kept = set(self._hot.read(hot, self.policy.reads)) if hot else set()
        if kept:
            self._settle_hot([op for op in self._hot.moving() if (op.namespace, op.key) in kept])

    def _settle_hot(self, moving: Sequence[PutOp]) -> None:
        """Write hot items to the disk; writing them there takes them out of the hot tier."""
        if moving:
            self.batch(moving)

    # Between the tiers

    def promote(self, scope: Namespace) -> int:
        """Move what is hot under a scope to the disk, and what memories there agree on to the facts; how many moved.

        Call it when a conversation ends.
        """
        moving = self._hot.moving(tuple(scope))
        self._settle_hot(moving)
        if self.policy.extract is None:
            return len(moving)
        agreed = self.policy.agreed(self._warm.newest(tuple(scope), lambda value: True, 1 << 30))
        for (namespace, triple), by in agreed.items():
            self.facts.add(namespace, *triple, valid_at=min(map(said_at, by)), sources=sorted(one.key for one in by))
        return len(moving) + len(agreed)

    def demote(self, scope: Namespace, *, keep: int) -> int:
        """Leave the `keep` items of most worth in the index; how many were taken out, to be found by their keys alone.

        Worth is the policy's: use, recency, importance. What is pinned stays; what is `put` again is back.
        """
        self._note_reads()
        gone = self.policy.surplus(uses(self._database, tuple(scope)), self._now(), keep)
        self._warm.unindex([(use.namespace, use.key) for use in gone])
        return len(gone)

    def invalidate(
        self, scope: Namespace, subject: str, relation: str, object: str | None = None, *, at: datetime | None = None
    ) -> int:
        """Say that facts stopped to hold; how many. To forget is something else: see `erase`."""
        return self.facts.invalidate(tuple(scope), subject, relation, object, at=at)

    def _note_reads(self) -> None:
        reads, self._reads = self._reads, Counter()
        note_reads(self._database, reads, self._now())

    # Forgetting

    def erase(self, scope: Namespace) -> ErasureReceipt:
        """Forget all that is under a scope, in every tier and every file, and look whether it is gone.

        Whatever comes for the scope later is refused, until `readmit`.
        """
        scope = tuple(scope)
        if not scope:
            raise ValueError(
                "erase takes the scope to forget; to forget everything, close the store and delete its files"
            )
        now = self._now()
        with self._database.writing() as db:
            self._tombstones.add(db, scope, now)
            gone, probes = erased_rows(self._database, scope)
        hot = self._hot.moving(scope)
        self._hot.forget([(op.namespace, op.key) for op in hot])
        self._reads = Counter({place: n for place, n in self._reads.items() if place[0][: len(scope)] != scope})
        if self._vectors:
            self._vectors.forget_queries()
        self._index.forget()
        if self._chroma:
            self._chroma.erase()
        self._database.vacuum()
        files = self.files()
        left, found_in = search(files, probes)
        return ErasureReceipt(
            scope=scope, at=time_of(now), items=gone["items"] + len(hot), facts=gone["facts"], files=len(files),
            vectors=gone["vectors"], probes=len(probes), left=left, found_in=found_in,
        )  # fmt: skip

    def readmit(self, scope: Namespace) -> bool:
        """Let an erased scope be written again; whether it was erased."""
        return self._tombstones.remove(tuple(scope))

    # What there is

    def rebuild(self) -> None:
        """Make anew what is derived from the items: words, vectors that are missing, the approximate index."""
        after = 0
        while page := items_after(self._database, after, _PAGE):
            drafts = {id: self._plan([op]).drafts[0] for id, op in page}
            texts = [text for one in drafts.values() for text in one.texts]
            self._warm.reindex(drafts, self._vectors.documents(texts) if self._vectors else {})
            after = page[-1][0]
        if self._chroma:
            self._chroma.rebuild()

    def stats(self) -> dict[str, Any]:
        """How much is in each tier, how recall works here, and what has not been carried over yet."""
        return {
            "recall": "words and meaning" if self._vectors else "words alone",
            "hot": self._hot.count(),
            **counts(self._database),
        }

    def close(self) -> None:
        """Close the file and let another process have it; what is still hot is gone. Closing twice does nothing."""
        if self._database.is_open:
            self._note_reads()
            self._hot.close()
        super().close()


def _names(query: str) -> list[str]:
    """Every run of up to four words: facts are about names, and names are words as they stand in the question."""
    words = re.findall(r"[\w'-]+", query)
    return [" ".join(words[n : n + length]) for length in range(4, 0, -1) for n in range(len(words) - length + 1)]
