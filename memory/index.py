"""Search in one database: the memories of each scope, ranked for a question."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from memory.conditions import Test
from memory.cues import Question
from memory.namespaces import Namespace
from memory.ranking import Floats, Ints, Postings, Spine, Weights, parts, weighed
from memory.results import Recalled
from memory.shelf import Shelf

_CACHED_BYTES = 192 * 2**20
_PAGE = 64
_CANDIDATES = 200
_SHARED = ("coverage", "session", "month", "day")


class Nearest(Protocol):
    """An index of vectors that answers approximately; None where it does not serve a scope."""

    def __call__(self, scope: int, vector: Floats, most: int) -> list[int] | None: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """What is looked for: a text and its vector, which values will do, and how many.

    Where values are `filtered`, candidates are all there are: the nearest might all fail the test.
    """

    text: str
    vector: Floats | None
    test: Test
    most: int
    filtered: bool


@dataclass(frozen=True, slots=True)
class Meaning:
    """How near each memory is to the question, and the length of its vector taken with its neighbours'."""

    cosines: Floats
    norms: Floats
    looked_at: Ints | None = None  # the rows that were compared, where not all were


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is kept of a scope between two searches, until something is written to it."""

    version: int
    spine: Spine
    owners: Ints
    vectors: Floats
    norms: Floats

    @property
    def size(self) -> int:
        return self.vectors.nbytes + 100 * len(self.spine.ids) + 1000


class Index:
    """Ranks the items of a shelf. Scopes of more than `exact` vectors ask `nearest` for candidates first."""

    def __init__(self, shelf: Shelf, *, weights: Weights, dims: int | None, nearest: Nearest, exact: int) -> None:
        self._shelf = shelf
        self._weights = weights
        self._dims = dims
        self._nearest = nearest
        self._exact = exact
        self._cache: OrderedDict[int, Loaded] = OrderedDict()

    def search(self, prefix: Namespace, ask: Ask) -> list[Recalled]:
        """The best items under a prefix that pass the test, then some without texts, as many as are missing."""
        found = list[Recalled]()
        for namespace, scope in self._shelf.scopes(prefix):
            found += self._scope(namespace, scope, ask)
        found.sort(key=lambda one: one.rank)
        return found[: ask.most]

    def _scope(self, namespace: Namespace, scope: int, ask: Ask) -> list[Recalled]:
        with self._shelf.database.snapshot():
            loaded = self._load(scope)
            spine = loaded.spine
            if not len(spine.ids):
                return []
            question = Question.read(ask.text, spine.speakers)
            postings = Postings.of(spine, self._postings(scope, question))
            meaning = self._meaning(scope, loaded, ask, postings)
            scores = weighed(parts(spine, question, postings, meaning.cosines, meaning.norms), self._weights)
            rows = self._order(spine, scores, meaning, by_words=ask.vector is None)
            return self._pick(namespace, spine, rows, scores, ask)

    def _order(self, spine: Spine, scores: Mapping[str, Floats], meaning: Meaning, *, by_words: bool) -> list[int]:
        """The rows worth showing, best first; equal ones in the order in which they came."""
        total: Floats = np.sum(np.stack(list(scores.values())), axis=0)
        shown = spine.words > 0
        if by_words:  # with no vector to go by, some word or the time asked for must be shared
            shown &= np.sum([scores[name] for name in _SHARED], axis=0) > 0
        elif meaning.looked_at is not None:
            shown &= np.isin(np.arange(len(total)), meaning.looked_at)
        order = np.argsort(-total, kind="stable")
        ranked: list[int] = order[shown[order]].tolist()
        return ranked + np.flatnonzero(spine.words == 0).tolist()

    def _pick(
        self, namespace: Namespace, spine: Spine, rows: list[int], scores: Mapping[str, Floats], ask: Ask
    ) -> list[Recalled]:
        found = list[Recalled]()
        for start in range(0, len(rows), _PAGE):
            page = rows[start : start + _PAGE]
            stored = self._shelf.rows([int(spine.ids[row]) for row in page])
            for row in page:
                item = stored.get(int(spine.ids[row]))
                value = json.loads(item.value) if item else {}
                if item is None or not ask.test(value):
                    continue
                made = {name: float(score[row]) for name, score in scores.items() if score[row] and spine.words[row]}
                score = max(-1.0, min(1.0, sum(made.values()))) if spine.words[row] else None
                found.append(self._shelf.recalled(namespace, item, value, score, made))
                if len(found) >= ask.most:
                    return found
        return found

    def forget(self) -> None:
        """Keep nothing of any scope."""
        self._cache.clear()

    # What it is made from

    def _load(self, scope: int) -> Loaded:
        version = self._shelf.version(scope)
        loaded = self._cache.pop(scope, None)
        if loaded is None or loaded.version != version:
            spine = self._spine(scope)
            few = self._many(scope) <= self._exact
            owners, vectors = self._vectors(scope, spine, None if few else np.zeros(0, np.int64))
            loaded = Loaded(version, spine, owners, vectors, _norms(spine, owners, vectors))
        self._cache[scope] = loaded
        size = sum(one.size for one in self._cache.values())
        while size > _CACHED_BYTES and len(self._cache) > 1:
            size -= self._cache.popitem(last=False)[1].size
        return loaded

    def _spine(self, scope: int) -> Spine:
        with self._shelf.database.reading() as db:
            rows = db.execute(
                "SELECT id, words, session, speaker, coalesce(day, 0), coalesce(early, 0), coalesce(late, 0), marks"
                " FROM items WHERE scope = ? ORDER BY id",
                (scope,),
            ).fetchall()
        ids, words, sessions, speakers, day, early, late, marks = zip(*rows, strict=True) if rows else ((),) * 8
        names = tuple(sorted({name for name in speakers if name is not None}))
        number = {name: n for n, name in enumerate(names)}
        session, previous, following = _conversations(sessions)
        return Spine(
            ids=_ints(ids), words=_ints(words), session=session, previous=previous, following=following,
            speaker=_ints(number.get(name, -1) for name in speakers), speakers=names,
            day=_ints(day), early=_ints(early), late=_ints(late), marks=_ints(marks),
        )  # fmt: skip

    def _vectors(self, scope: int, spine: Spine, among: Ints | None = None) -> tuple[Ints, Floats]:
        """The vectors of a scope, or of some of its rows, and whose each is."""
        none = np.zeros(0, np.int64), np.zeros((0, self._dims or 0), np.float32)
        if self._dims is None:
            return none
        where, values = "scope = ? ORDER BY item, id", [scope]
        if among is not None:
            values += spine.ids[among].tolist()
            where = f"scope = ? AND item IN ({','.join('?' * len(among))}) ORDER BY item, id"
        with self._shelf.database.reading() as db:
            rows = db.execute(f"SELECT item, data FROM vectors WHERE {where}", values).fetchall()
        if not rows:
            return none
        data = np.frombuffer(b"".join(data for _, data in rows), np.float32).reshape(len(rows), self._dims)
        return np.searchsorted(spine.ids, [item for item, _ in rows]), data

    def _many(self, scope: int) -> int:
        with self._shelf.database.reading() as db:
            return int(db.execute("SELECT count(*) FROM vectors WHERE scope = ?", (scope,)).fetchone()[0])

    def _postings(self, scope: int, question: Question) -> dict[str, tuple[list[int], list[int]]]:
        found: dict[str, tuple[list[int], list[int]]] = {term: ([], []) for term in question.terms}
        marks = ",".join("?" * len(found))
        with self._shelf.database.reading() as db:
            for term, item, times in db.execute(
                f"SELECT term, item, times FROM words WHERE scope = ? AND term IN ({marks})", [scope, *found]
            ):
                found[term][0].append(item)
                found[term][1].append(times)
        return {term: places for term, places in found.items() if places[0]} if question.terms else {}

    def _meaning(self, scope: int, loaded: Loaded, ask: Ask, postings: Postings) -> Meaning:
        spine, vector = loaded.spine, ask.vector
        if vector is None or not self._many(scope):
            return Meaning(np.zeros(len(spine.ids), np.float32), np.zeros(len(spine.ids), np.float32))
        if len(loaded.vectors):
            return Meaning(_best(spine, loaded.owners, loaded.vectors @ vector), loaded.norms)
        most = max(_CANDIDATES, ask.most)
        near = None if ask.filtered else self._nearest(scope, vector, most)
        rows = None if near is None else self._candidates(spine, near, postings, most)
        owners, vectors = self._vectors(scope, spine, rows)
        return Meaning(_best(spine, owners, vectors @ vector), _norms(spine, owners, vectors, rows), rows)

    def _candidates(self, spine: Spine, near: list[int], postings: Postings, most: int) -> Ints:
        """The rows near in meaning and those that share most words, with their neighbours."""
        shared = (postings.counts > 0).sum(axis=0)
        by_words = np.argsort(-shared, kind="stable")[:most]
        ids = np.array(near, np.int64)
        at = np.searchsorted(spine.ids, ids).clip(0, len(spine.ids) - 1)
        rows = np.concatenate([at[spine.ids[at] == ids], by_words[shared[by_words] > 0]])
        around = np.concatenate([rows, spine.previous[rows], spine.following[rows]])
        return np.unique(around[around >= 0])


def _ints(values: Iterator[int] | tuple[int, ...]) -> Ints:
    return np.fromiter(values, np.int64)


def _conversations(sessions: tuple[str | None, ...]) -> tuple[Ints, Ints, Ints]:
    """Numbers for the conversations, and for each row the one before and the one after it in its own."""
    number: dict[str, int] = {}
    last: dict[str, int] = {}
    session, previous, following = (np.full(len(sessions), -1, np.int64) for _ in range(3))
    for row, name in enumerate(sessions):
        if name is None:
            continue
        session[row] = number.setdefault(name, len(number))
        if name in last:
            previous[row] = last[name]
            following[last[name]] = row
        last[name] = row
    return session, previous, following


def _best(spine: Spine, owners: Ints, cosines: Floats) -> Floats:
    """For each row the best of its vectors; 0 for a row that has none."""
    best = np.full(len(spine.ids), -2, np.float32)
    np.maximum.at(best, owners, cosines)
    return np.where(best > -2, best, np.float32(0))


def _norms(spine: Spine, owners: Ints, vectors: Floats, rows: Ints | None = None) -> Floats:
    """How long each row's vector is once half of those of its neighbours is added; of all rows, or of these."""
    every, rows = len(spine.ids), np.arange(len(spine.ids)) if rows is None else rows
    place = np.full(every + 1, -1, np.int64)  # its last entry stands for the neighbour that is not there
    place[rows] = np.arange(len(rows))
    own = np.zeros((len(rows) + 1, vectors.shape[1]), np.float32)
    own[place[owners]] = vectors
    beside = own[place[spine.previous[rows]]] + own[place[spine.following[rows]]]
    lengths = np.zeros(every, np.float32)
    lengths[rows] = np.linalg.norm(own[:-1] + np.float32(0.5) * beside, axis=1)
    has = np.zeros(every, bool)
    has[owners] = True
    return np.where(has, lengths, np.float32(0))
