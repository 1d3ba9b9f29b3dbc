"""In which line of a TOML text a key stands: `tomllib` reads values and forgets where they were.

Only for texts that `tomllib` has accepted, so nothing here looks for mistakes.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from collections.abc import Callable, Sequence

Path = tuple[str | int, ...]
"""Keys from the top down, and the numbers of elements in arrays: `("halt", 0, "over")`."""

BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
SPACE = re.compile(r"[ \t]*")
KEY = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|[A-Za-z0-9_-]+')
TEXT = re.compile(
    r'"""(?:\\[\s\S]|[^\\])*?""""{0,2}' r"|'''[\s\S]*?''''{0,2}" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'",
)
PLAIN = re.compile(r"[^,\]}#\n]*")


class Lines:
    """The lines of one document."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._known: dict[Path, int] = {(): 1}
        self._arrays: dict[Path, int] = {}
        self._document()

    def of(self, path: Sequence[str | int]) -> int:
        """The line where a key, a table or an element begins; of what it is in, where it has none of its own."""
        whole = tuple(path)
        while whole not in self._known:
            whole = whole[:-1]
        return self._known[whole]

    def _note(self, path: Path) -> None:
        self._known.setdefault(path, bisect.bisect_left(self._ends, self._at) + 1)

    def _skip(self, what: re.Pattern[str]) -> str:
        found = what.match(self._text, self._at)
        assert found is not None, f"no TOML at {self._at}"
        self._at = found.end()
        return found.group()

    def _document(self) -> None:
        table: Path = ()
        self._skip(BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(BLANK)

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`: the path of what follows."""
        many = self._text.startswith("[[", self._at)
        start = self._at
        self._at += 1 + many
        keys = self._keys()
        self._skip(SPACE)
        end, self._at = self._at + 1 + many, start  # it stands where its bracket does
        path: Path = ()
        for key in keys[:-1]:
            path = self._within((*path, key))
        path = (*path, keys[-1])
        self._note(path)
        if many:
            self._arrays[path] = self._arrays.get(path, -1) + 1
        path = self._within(path)
        self._note(path)
        self._at = end
        return path

    def _within(self, path: Path) -> Path:
        """The last element of an array of tables, where a header names one."""
        self._note(path)
        return (*path, self._arrays[path]) if path in self._arrays else path

    def _keys(self) -> list[str]:
        """A key with its dots."""
        found = []
        while True:
            self._skip(SPACE)
            found.append(_unquoted(self._skip(KEY)))
            self._skip(SPACE)
            if not self._text.startswith(".", self._at):
                return found
            self._at += 1

    def _pair(self, table: Path) -> None:
        start = self._at
        keys = self._keys()
        after, self._at = self._at, start
        for depth in range(1, len(keys) + 1):
            self._note((*table, *keys[:depth]))
        self._at = after + 1  # the equals sign
        self._skip(SPACE)
        self._value((*table, *keys))

    def _value(self, path: Path) -> None:
        sign = self._text[self._at]
        if sign in "\"'":
            self._skip(TEXT)
        elif sign == "[":
            self._several("]", lambda number: self._element((*path, number)))
        elif sign == "{":
            self._several("}", lambda number: self._pair(path))
        else:
            self._skip(PLAIN)

    def _element(self, path: Path) -> None:
        self._note(path)
        self._value(path)

    def _several(self, closing: str, one: Callable[[int], None]) -> None:
        """What stands between brackets, with commas."""
        self._at += 1
        number = 0
        self._skip(BLANK)
        while self._text[self._at] != closing:
            one(number)
            number += 1
            self._skip(BLANK)
            if self._text[self._at] == ",":
                self._at += 1
                self._skip(BLANK)
        self._at += 1


def _unquoted(key: str) -> str:
    if key[0] not in "\"'":
        return key
    return next(iter(tomllib.loads(f"{key} = 0")))
