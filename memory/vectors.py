"""Texts as vectors, each text once: what the database or this process has embedded is not embedded again."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
from langchain_core.embeddings import Embeddings

from memory.database import Database
from memory.drafts import digest_of
from memory.errors import StoreMismatch
from memory.ranking import Floats

_MOST_QUERIES = 1_000
_PAGE = 500


class Vectors:
    """An embedding model with the vectors it has made before; all are of length one, or zero."""

    def __init__(self, embeddings: Embeddings, dims: int, database: Database) -> None:
        self.embeddings = embeddings
        self.dims = dims
        self._database = database
        self._queries: OrderedDict[str, Floats] = OrderedDict()
        self._lock = threading.Lock()
        name = f"{getattr(embeddings, 'model', None) or type(embeddings).__name__}/{dims}"
        written = database.meta("embedding", name)
        if written != name:
            raise StoreMismatch(
                f"the vectors of this store were made by {written}, and it was opened with {name};"
                " open it with the model it was written with, or write its items to a new store"
            )

    def documents(self, texts: Iterable[str]) -> dict[str, bytes]:
        """The vector of each text, as the bytes that are stored."""
        known, missing = self._known(texts)
        return known if not missing else known | self._made(missing, self.embeddings.embed_documents(missing))

    async def adocuments(self, texts: Iterable[str]) -> dict[str, bytes]:
        known, missing = await asyncio.to_thread(self._known, texts)
        return known if not missing else known | self._made(missing, await self.embeddings.aembed_documents(missing))

    def queries(self, texts: Iterable[str]) -> dict[str, Floats]:
        """The vector of each query; models may tell queries from documents."""
        known, missing = self._asked(texts)
        return known | {text: self._asked_now(text, self.embeddings.embed_query(text)) for text in missing}

    async def aqueries(self, texts: Iterable[str]) -> dict[str, Floats]:
        known, missing = self._asked(texts)
        return known | {text: self._asked_now(text, await self.embeddings.aembed_query(text)) for text in missing}

    def _known(self, texts: Iterable[str]) -> tuple[dict[str, bytes], list[str]]:
        wanted = {digest_of(text): text for text in texts}
        known: dict[str, bytes] = {}
        digests = list(wanted)
        with self._database.reading() as db:
            for start in range(0, len(digests), _PAGE):
                page = digests[start : start + _PAGE]
                marks = ",".join("?" * len(page))
                for digest, data in db.execute(f"SELECT digest, data FROM vectors WHERE digest IN ({marks})", page):
                    known[wanted[digest]] = data
        return known, [text for text in wanted.values() if text not in known]

    def _made(self, texts: Sequence[str], raw: Sequence[Sequence[float]]) -> dict[str, bytes]:
        if len(raw) != len(texts):
            raise StoreMismatch(f"the embedding model made {len(raw)} vectors of {len(texts)} texts")
        return {text: self._unit(vector).tobytes() for text, vector in zip(texts, raw, strict=True)}

    def _asked(self, texts: Iterable[str]) -> tuple[dict[str, Floats], list[str]]:
        wanted = dict.fromkeys(texts)
        with self._lock:
            known = {text: self._queries[text] for text in wanted if text in self._queries}
        return known, [text for text in wanted if text not in known]

    def _asked_now(self, text: str, raw: Sequence[float]) -> Floats:
        vector = self._unit(raw)
        with self._lock:
            self._queries[text] = vector
            if len(self._queries) > _MOST_QUERIES:
                self._queries.popitem(last=False)
        return vector

    def _unit(self, raw: Sequence[float]) -> Floats:
        vector = np.asarray(raw, np.float32)
        if vector.shape != (self.dims,):
            raise StoreMismatch(f"expected vectors of {self.dims} numbers, the embedding model made {vector.shape}")
        length = float(np.linalg.norm(vector))
        return vector / np.float32(length) if length > 0 else vector

    def forget_queries(self) -> None:
        """Queries may quote what was erased."""
        with self._lock:
            self._queries.clear()
