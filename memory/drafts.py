"""A write, made ready before anything is touched: what is kept, what it is found by, what it says of itself.

Some fields of a value mean something to recall, if they are there: `session` (the conversation it belongs to),
`speaker`, `at` (when it was said, ISO 8601), `importance` (0 to 1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from langgraph.store.base import PutOp, get_text_at_path, tokenize_path

from memory.cues import days_of, marks_of
from memory.namespaces import Namespace

_MOST_MINUTES = 1e9  # some 1,900 years


@dataclass(frozen=True, slots=True)
class Draft:
    """One item as it will be written; a value of None deletes it."""

    namespace: Namespace
    key: str
    value: str | None
    fields: str | None
    texts: tuple[str, ...]
    ttl: float | None
    session: str | None = None
    speaker: str | None = None
    days: tuple[int, int, int] | None = None
    importance: float = 0.5

    @property
    def marks(self) -> int:
        return marks_of(self.texts[0]) if self.texts else 0


def draft(op: PutOp, default: Sequence[str]) -> Draft:
    """What a put writes; `default` are the fields an item is found by where the call names none."""
    if op.value is None:
        return Draft(op.namespace, op.key, None, None, (), None)
    value = dict(op.value)
    paths = default if op.index is None else [] if op.index is False else op.index
    texts = tuple(text for path in paths for text in texts_at(value, path) if text)
    return Draft(
        namespace=op.namespace,
        key=str(op.key),
        value=_json(op, value),
        fields=None if op.index is None else json.dumps(list(paths)),
        texts=texts,
        ttl=_minutes(op.ttl),
        session=_text(value, "session"),
        speaker=_text(value, "speaker"),
        days=days_of(texts[0], _day(value.get("at"))) if texts else None,
        importance=_share(value.get("importance")),
    )


def texts_at(value: Mapping[str, Any], path: str) -> list[str]:
    """The texts at one path of a value, as LangGraph reads paths; `$` is the whole value."""
    return [clean(text) for text in get_text_at_path(value, "$" if path == "$" else tokenize_path(path))]


def clean(text: str) -> str:
    """A text that any model can read: half a character, as a cut string may end in, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def digest_of(text: str) -> bytes:
    """What a text's vector is found by, so that no text is embedded twice."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _json(op: PutOp, value: dict[str, Any]) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as problem:
        raise TypeError(
            f"the value of {'.'.join(op.namespace)}/{op.key} cannot be stored: {problem};"
            " a value is a mapping that JSON can hold"
        ) from None


def _text(value: Mapping[str, Any], field: str) -> str | None:
    found = value.get(field)
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else None


def _day(at: Any) -> date | None:
    try:
        return datetime.fromisoformat(at).date() if isinstance(at, str) else None
    except ValueError:  # a field that happens to be called so
        return None


def _minutes(ttl: float | None) -> float | None:
    if ttl is None:
        return None
    if not 0 <= ttl < float("inf"):
        raise ValueError(f"ttl is how many minutes an item lives, from 0 on, or None for ever; it was {ttl!r}")
    return min(ttl, _MOST_MINUTES)


def _share(importance: Any) -> float:
    plain = isinstance(importance, int | float) and not isinstance(importance, bool)
    return min(1.0, max(0.0, float(importance))) if plain else 0.5
