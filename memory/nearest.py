"""The approximate index of the large scopes: Chroma, one collection a scope, made from SQLite and never the other way.

What changes in SQLite is noted in its outbox by the same transaction; a thread carries it over, and goes on where it
stopped after a crash. Until then the outbox names what Chroma does not know, so a search misses nothing.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from filelock import FileLock

from memory.database import Database
from memory.errors import StoreError
from memory.ranking import Floats

_log = logging.getLogger(__name__)
# Chroma's defaults find half of what is there at 10,000 vectors; with these it finds all but a few.
_HNSW = {"space": "ip", "max_neighbors": 48, "ef_construction": 200, "ef_search": 400}
_PAGE = 1_000
_MOST_PENDING = 1_000


class ChromaIndex:
    """Serves scopes with more than `exact` vectors; the folder may be deleted whenever the store is closed.

    Whoever searches may hold the database, and the thread takes the database while it works, so a search never waits
    for the thread.
    """

    def __init__(self, folder: Path, database: Database, *, exact: int, server: str | None) -> None:
        self._folder = folder
        self._server = server
        # Of several processes one carries over at a time: an old page after a newer one would bring back what is gone.
        self._turn = FileLock(f"{folder}.turn", thread_local=False)
        self._database = database
        self._exact = exact
        self._client: Any = None
        self._collections: dict[int, Any] = {}
        self._opening = threading.Lock()
        self._touched: set[int] = set()
        self._wake = threading.Condition()
        self._work = threading.RLock()
        self._closed = False
        self._thread: threading.Thread | None = None
        if self._served():
            self.notice([])

    # Searching

    def __call__(self, scope: int, vector: Floats, most: int) -> list[int] | None:
        """Items near a vector, and those the index has not been told of; None where comparing all is as good."""
        with self._database.reading() as db:
            served = db.execute("SELECT 1 FROM scopes WHERE id = ? AND indexed", (scope,)).fetchone()
            pending = db.execute(
                "SELECT item FROM vectors WHERE id IN (SELECT vector FROM outbox WHERE scope = ? AND NOT gone) LIMIT ?",
                (scope, _MOST_PENDING),
            ).fetchall()
        if not served or len(pending) == _MOST_PENDING:
            return None
        near = self._collection(scope).query(query_embeddings=[vector], n_results=most, include=[])["ids"][0]
        marks = ",".join("?" * len(near))
        with self._database.reading() as db:
            found = db.execute(f"SELECT item FROM vectors WHERE id IN ({marks})", [int(id) for id in near]).fetchall()
        return list(dict.fromkeys(int(item) for (item,) in [*found, *pending]))

    # Carrying over

    def notice(self, scopes: Iterable[int]) -> None:
        """Something in these scopes has changed; a thread sees to it."""
        with self._wake:
            self._touched.update(scopes)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, daemon=True, name="memory-index")
                self._thread.start()
            self._wake.notify()

    def settle(self) -> None:
        """Carry over all there is, now: when it returns the index knows what SQLite knows."""
        with self._wake:
            scopes, self._touched = self._touched, set()
        with self._work, self._turn:
            self._adopt(scopes)
            while self._carry():
                pass

    def rebuild(self, scopes: Sequence[int] | None = None) -> None:
        """Make these scopes' collections anew from SQLite, or those of all that are served."""
        with self._work, self._turn:
            for scope in self._served() if scopes is None else scopes:
                with self._database.writing() as db:  # until it is made again, searches compare all
                    db.execute("UPDATE scopes SET indexed = 0 WHERE id = ?", (scope,))
                self._drop(scope)
                with self._database.writing() as db:
                    self._enqueue(db, scope)
            self.settle()

    def differences(self) -> dict[int, tuple[int, int]]:
        """The scopes whose collection holds another number of vectors than SQLite: both numbers."""
        different = dict[int, tuple[int, int]]()
        with self._work, self._turn:
            for scope in self._served():
                with self._database.reading() as db:
                    [(many,)] = db.execute("SELECT count(*) FROM vectors WHERE scope = ?", (scope,)).fetchall()
                if many != (carried := int(self._collection(scope).count())):
                    different[scope] = int(many), carried
        return different

    def _run(self) -> None:
        work = self._begin
        while not self._closed:
            try:
                work()
            except Exception:
                if not self._closed:
                    _log.exception("the approximate index is behind; until it has caught up, searches read its outbox")
            work = self.settle
            with self._wake:
                self._wake.wait_for(lambda: self._touched or self._closed)

    def _begin(self) -> None:
        self.settle()
        self.rebuild(list(self.differences()))  # a crash of Chroma's own, or a folder that was lost

    def _adopt(self, scopes: Iterable[int]) -> None:
        """From now on serve the scopes that have outgrown comparing all."""
        for scope in scopes:
            with self._database.reading() as db:
                outgrown = db.execute(
                    "SELECT 1 FROM scopes s WHERE id = ? AND NOT indexed"
                    " AND (SELECT count(*) FROM vectors WHERE scope = s.id) > ?",
                    (scope, self._exact),
                ).fetchone()
            if outgrown:
                with self._database.writing() as db:
                    self._enqueue(db, scope)

    def _enqueue(self, db: sqlite3.Connection, scope: int) -> None:
        db.execute("UPDATE scopes SET indexed = 1 WHERE id = ?", (scope,))
        db.execute("DELETE FROM outbox WHERE scope = ?", (scope,))
        db.execute("INSERT INTO outbox(scope, vector, gone) SELECT scope, id, 0 FROM vectors WHERE scope = ?", (scope,))

    def _carry(self) -> bool:
        """One page of the outbox; whether there was one. Doing it twice does nothing."""
        with self._database.reading() as db:
            page = db.execute(
                "SELECT o.n, o.scope, o.vector, v.data FROM outbox o LEFT JOIN vectors v ON v.id = o.vector"
                " ORDER BY o.n LIMIT ?",
                (_PAGE,),
            ).fetchall()
        if not page:
            return False
        for scope in {scope for _, scope, _, _ in page}:
            # A vector that came and went within one page stands in it twice.
            last = {vector: data for _, of, vector, data in page if of == scope}
            self._change(scope, {v: data for v, data in last.items() if data is not None}, last)
        with self._database.writing() as db:
            db.execute("DELETE FROM outbox WHERE n <= ?", (page[-1][0],))
        return True

    def _change(self, scope: int, new: Mapping[int, bytes], every: Iterable[int]) -> None:
        collection, gone = self._collection(scope), [str(vector) for vector in every if vector not in new]
        if new:
            vectors = [np.frombuffer(data, np.float32) for data in new.values()]
            collection.upsert(ids=[str(vector) for vector in new], embeddings=vectors)
        if gone:
            collection.delete(ids=gone)

    # Chroma

    def _served(self) -> list[int]:
        with self._database.reading() as db:
            return [int(id) for (id,) in db.execute("SELECT id FROM scopes WHERE indexed ORDER BY id")]

    def _open(self) -> Any:
        """Imported here: it takes half a second, and a store with small scopes never needs it."""
        with self._opening:
            if self._client is None:
                import chromadb
                from chromadb.config import Settings

                settings = Settings(anonymized_telemetry=False)
                if self._server is None:
                    self._client = chromadb.PersistentClient(str(self._folder), settings=settings)
                else:
                    at = urlsplit(self._server)
                    self._client = chromadb.HttpClient(
                        at.hostname or "localhost", at.port or 8000, ssl=at.scheme == "https", settings=settings
                    )
            return self._client

    def _collection(self, scope: int) -> Any:
        if scope not in self._collections:
            self._collections[scope] = self._open().get_or_create_collection(
                _name(scope), embedding_function=None, configuration={"hnsw": _HNSW}
            )
        return self._collections[scope]

    def _drop(self, scope: int) -> None:
        self._collections.pop(scope, None)
        if _name(scope) in self._names():
            self._open().delete_collection(_name(scope))

    def _names(self) -> set[str]:
        return {str(one.name) for one in self._open().list_collections()}

    def erase(self) -> None:
        """Keep no byte of the scopes that SQLite does not know any more; also of those that a crash left over.

        Chroma itself leaves files and free pages behind when a collection is deleted.
        """
        if not self._folder.exists():
            if self._server:
                raise StoreError(
                    f"expected the files of {self._server} in {self._folder} and found none, so nobody can say what is"
                    " left in them; let it serve this folder: `chroma run --path`, and erase again"
                )
            return
        with self._work, self._turn:
            served = self._served()
            self._collections = {scope: one for scope, one in self._collections.items() if scope in served}
            for name in self._names() - {_name(scope) for scope in served}:
                self._open().delete_collection(name)
            with closing(sqlite3.connect(self._folder / "chroma.sqlite3", isolation_level=None, timeout=60)) as db:
                live = {str(id) for (id,) in db.execute("SELECT id FROM segments")}
                db.execute("VACUUM")
            for folder in self._folder.iterdir():
                if folder.is_dir() and folder.name not in live:
                    shutil.rmtree(folder)

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        with self._work:
            if self._client is not None:
                self._client.close()
                self._client = None


def _name(scope: int) -> str:
    return f"scope-{scope}"
