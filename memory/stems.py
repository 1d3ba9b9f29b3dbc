"""Words as the index knows them: lower case, and cut to their stem by SQLite's own Porter stemmer."""

from __future__ import annotations

import re
import sqlite3
import threading

_WORD = re.compile(r"\w+")
_MOST = 100_000


class Stemmer:
    """Asks FTS5 for the stem of each word it has not seen yet, so that no second stemmer can disagree with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, ...]] = {}
        self._fts = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._fts.execute("CREATE VIRTUAL TABLE words USING fts5(word, content='', tokenize='porter unicode61')")
        self._fts.execute("CREATE VIRTUAL TABLE found USING fts5vocab(words, instance)")

    def __call__(self, text: str) -> list[str]:
        """The stems of a text, in order."""
        words = _WORD.findall(text.lower().encode("utf-8", "replace").decode())
        with self._lock:
            if len(self._known) > _MOST:
                self._known.clear()
            self._learn([word for word in dict.fromkeys(words) if word not in self._known])
            return [stem for word in words for stem in self._known[word]]

    def _learn(self, words: list[str]) -> None:
        if not words:
            return
        self._fts.execute("INSERT INTO words(words) VALUES('delete-all')")
        self._fts.executemany("INSERT INTO words(rowid, word) VALUES(?, ?)", enumerate(words, 1))
        stems: dict[int, list[str]] = {}
        for doc, stem in self._fts.execute("SELECT doc, term FROM found ORDER BY doc, offset"):
            stems.setdefault(doc, []).append(stem)
        for n, word in enumerate(words, 1):
            self._known[word] = tuple(stems.get(n, ()))


stems = Stemmer()
