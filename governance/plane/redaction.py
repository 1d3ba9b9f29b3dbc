"""Takes out of a value what must not be stored, before it is hashed or written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
import ormsgpack

from governance import canonical
from governance.errors import PolicyError

MARK = "[redacted]"
NAMED = 2
"""A packed object begins with its module and its name; a rule must not make another class of it."""
_PACKING = (
    ormsgpack.OPT_NON_STR_KEYS | ormsgpack.OPT_PASSTHROUGH_DATACLASS | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM | ormsgpack.OPT_PASSTHROUGH_UUID
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Redaction:
    """Rules that every text passes; where there is none, nothing is looked at."""

    rules: tuple[re.Pattern[str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rules)

    def also(self, rules: Iterable[str]) -> Redaction:
        """These rules and more; raises `PolicyError` for one that is no regular expression."""
        known = {rule.pattern for rule in self.rules}
        return Redaction((*self.rules, *(_compiled(rule) for rule in rules if rule not in known)))

    def text(self, text: str) -> str:
        for rule in self.rules:
            text = rule.sub(MARK, text)
        return text

    def plain(self, value: Any) -> Any:
        """A value with every text in it looked at; other objects are left as they are."""
        if not self.rules:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.plain(key): self.plain(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(inner) for inner in value]
        return value

    def json(self, text: str) -> str:
        """The same for the text of a body."""
        return canonical.text(self.plain(orjson.loads(text)))

    def packed(self, data: bytes) -> bytes:
        """The same for LangGraph's own encoding, where objects are packed within objects."""
        if not self.rules:
            return data
        value = ormsgpack.unpackb(data, ext_hook=self._inner, option=ormsgpack.OPT_NON_STR_KEYS)
        return ormsgpack.packb(self._unpacked(value), option=_PACKING)

    def _inner(self, code: int, data: bytes) -> Any:
        value = ormsgpack.unpackb(data, ext_hook=self._inner, option=ormsgpack.OPT_NON_STR_KEYS)
        if isinstance(value, (list, tuple)):
            kept = [*value[:NAMED], *map(self._unpacked, value[NAMED:])]
        else:
            kept = self._unpacked(value)
        return ormsgpack.Ext(code, ormsgpack.packb(kept, option=_PACKING))

    def _unpacked(self, value: Any) -> Any:
        return value if isinstance(value, ormsgpack.Ext) else self.plain(value)


def _compiled(rule: str) -> re.Pattern[str]:
    try:
        return re.compile(rule)
    except re.error as error:
        raise PolicyError(f"redact: {rule!r} is no regular expression ({error})") from error
